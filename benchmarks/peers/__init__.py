"""
The same small app on every framework, with the sessions of each library.

It has one page: who is signed in. Requests are made in this process, through WSGI and
ASGI themselves: no server and no client take part in what they cost.
"""

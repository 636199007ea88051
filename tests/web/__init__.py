"""
Whole applications over real HTTP.

A framework's example passes the scenario of :mod:`web.scenario`::

    class TestFlaskExample(WsgiScenario):
        def create_app(self, auth: AuthService, origin: str) -> WSGIApplication:
            return create_app(auth, origin)

(``AsgiScenario`` for an ``AsyncAuthService`` and an ASGI application.) Tests of its own go
into the same class, with the fixture ``site``, or into the same module. ``site`` is fresh
for each test: a service over memory stores and the application; WSGI applications have a
server of their own, ASGI applications of one class share one. What the application leaves
behind in the process is its test's to tidy up, in a fixture with ``autouse``.
"""

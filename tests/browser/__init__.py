"""
Tests in a real browser: the machine's own Chromium, driven by Playwright.

How to write one::

    def test_a_cookie_is_sent_back(sites: Sites, page: Page) -> None:
        shop = sites.at("https://shop.test")  # has an origin now, and no application yet
        shop.serve_wsgi(make_application(trusted_origins=[shop.origin]))
        page.goto(shop.url("/sign-in"))
        page.fill("[name=username]", "alice")
        with page.expect_navigation():
            page.click("button")
        assert cookies_for(page)["__Host-session"]["httpOnly"]

Fixtures (``conftest.py``):

- ``page``: a tab of ``browser``; ``browser.new_page()`` is a second tab.
- ``browser``: cookies, cache and connections of one person on one device.
- ``new_browser()``: one more of these, for another person or device.
- ``sites``: ``sites.at(address)`` is a site on a free port of this process. Then
  ``serve_wsgi`` (HTTP/1.0, a thread for each request), ``serve_asgi`` (HTTP/1.1) or
  ``serve_http2`` says what answers there. ASGI applications have their lifespan and
  WebSockets, and cookies one header each if wrapped in ``cookies_apart``.
- ``chromium``: the process, one for each module of tests.

Sites and their relations: ``http://127.0.0.1`` and ``http://localhost`` are trusted
without TLS, and are two sites. ``https://shop.test`` and ``https://evil.test`` are two;
``https://app.shop.test`` and ``https://api.shop.test`` are of one site, as is one host on
two ports. Plain ``http://shop.test`` is what a network without TLS is: no Secure cookies.
Any name under ``.test`` will do; other names do not exist.

What to know:

- The thread of the tests cannot run an event loop of its own while Chromium runs:
  ``asyncio.run`` refuses. ``site.run(coroutine)`` works in the loop of the site's ASGI
  application, where its stores live.
- Chromium keeps pages as they were and shows them again on "back", without a request;
  Playwright would switch that off, and :mod:`browser.chromium` does not let it. Press
  the button with ``go_back(page)``: ``page.go_back()`` waits for a load that never
  comes. ``Cache-Control: no-store`` alone does *not* keep a page from being kept; it is
  thrown away when, besides, a cookie of its site changes (``test_the_harness.py``).
- Ask ``cookies_for(page)``, not ``browser.cookies()``, which says ``Lax`` of cookies
  without ``SameSite``, too.
- ``page.request`` is not the browser: it knows no ``.test``, and what it sends has no
  ``Sec-Fetch-Site``. Let the page send: forms, links, ``page.evaluate("() => fetch(...)")``.
- Of each site the browser also wants ``/favicon.ico``, whenever it likes, and sends its
  cookies along. It may open a second connection that it does not use.
- Over HTTP/1 there are at most six requests at once to a site, over HTTP/2 many.
- The browser's clock is the real one; the manual clock of a test is the server's.
- No sleeps: ``with page.expect_navigation()``, ``expect_response`` and locators wait,
  for 20 seconds at most.
- A WSGI stream has to end when its connection does, or at a time-out of its own:
  closing a site waits for the threads of its requests, and fails if they stay.
"""

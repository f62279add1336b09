"""The pages below /metrics, one module each; `rondo_web.application` has the routes to them."""

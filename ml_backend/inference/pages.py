"""The page at ``/``: what is here, and a form that works without any script. The web page proper comes later."""

from __future__ import annotations

from html import escape

from starlette.responses import HTMLResponse

from cards.limits import MAX_BATCH_FILES, MAX_IMAGE_BYTES

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'; frame-ancestors 'none'"

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>DeepScan</title>
<style>
  body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 42rem; margin: 3rem auto; padding: 0 1rem; }}
  fieldset {{ border: 1px solid #8888; border-radius: .5rem; padding: 1rem; }}
  label {{ display: block; margin-bottom: .75rem; }}
  table {{ border-collapse: collapse; }} td {{ padding: .15rem 1.25rem .15rem 0; vertical-align: top; }}
  :root {{ color-scheme: light dark; }}
</style>
<h1>DeepScan</h1>
<p>Tells whether a photo was synthesised or manipulated, and shows why. The answer is a JSON verdict.</p>
<form action="{root}/api/predict/image" method="post" enctype="multipart/form-data">
  <fieldset>
    <legend>Scan a photo</legend>
    <label>Photo, at most {megabytes} MB<br><input type="file" name="file" accept="image/*" required></label>
    <label>Threshold, 0 to 1 (empty: the measured operating point)<br>
      <input type="number" name="confidence_threshold" min="0" max="1" step="any"></label>
    <label><input type="checkbox" name="heatmaps" value="true"> with heat maps</label>
    <button>Scan</button>
  </fieldset>
</form>
{keys}
<h2>End points</h2>
<table>
  <tr><td><code>POST /api/predict/image</code><td>one photo
  <tr><td><code>POST /api/batch-predict</code><td>up to {files} photos
  <tr><td><a href="{root}/api/health"><code>GET /api/health</code></a><td>whether a photo would get a verdict now
  <tr><td><a href="{root}/api/models"><code>GET /api/models</code></a><td>models, versions, licences, measurements
  <tr><td><a href="{root}/api/stats"><code>GET /api/stats</code></a><td>counts, latency, errors, cache, memory
  <tr><td><a href="{root}/metrics"><code>GET /metrics</code></a><td>for Prometheus
  <tr><td><a href="{root}/docs"><code>GET /docs</code></a><td>every end point, to be tried out
</table>
</html>
"""


def index(root: str, asks_for_keys: bool) -> HTMLResponse:
    """The page.

    Args:
        root: path prefix that a proxy put in front.
        asks_for_keys: say that this form cannot show a key.
    """
    keys = "<p>This server asks for an API key, which a plain form cannot send: use curl or /docs.</p>"
    page = _PAGE.format(
        root=escape(root, quote=True),
        megabytes=MAX_IMAGE_BYTES // 2**20,
        files=MAX_BATCH_FILES,
        keys=keys if asks_for_keys else "",
    )
    return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY})

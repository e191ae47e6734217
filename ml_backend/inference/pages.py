"""The page at ``/``: what is here, and a form for each medium.

They work without any script and then show the JSON verdict; with it the answer stays on the page: label, probability,
the timeline of a recording or a video, a video's faces, and what was measured of them. The forms of videos, alone and
with their sound, ask for events, and tell how far it is.
The page shows one scan: the next one ends it, so that no answer stands under another file.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape

from starlette.responses import HTMLResponse

from cards.limits import MAX_AUDIO_BYTES, MAX_BATCH_FILES, MAX_IMAGE_BYTES, MAX_JUDGED_FRAMES, MAX_VIDEO_BYTES

# Whatever a server says is set as text, never as HTML.
_SCRIPT = """
const out = document.getElementById("out");
function add(parent, tag, text, style) {
  const made = parent.appendChild(document.createElement(tag));
  if (text !== undefined) made.textContent = text;
  Object.assign(made.style, style || {});
  return made;
}
function timeline(verdict) {
  const whole = verdict.input.duration_s, limit = verdict.operating_point.threshold;
  const place = (start, end) => ({ left: 100 * start / whole + "%", width: 100 * (end - start) / whole + "%" });
  const box = add(out, "div", undefined, { position: "relative", height: "5rem", border: "1px solid #8888" });
  box.id = "timeline";
  for (const [start, end, p] of verdict.timeline) {
    const bar = { position: "absolute", bottom: 0, height: Math.max(1, 100 * p) + "%", ...place(start, end) };
    const words = start.toFixed(1) + " to " + end.toFixed(1) + " s: " + p.toFixed(2);
    add(box, "div", undefined, { ...bar, background: p >= limit ? "#da3633" : "#3870c8" }).title = words;
  }
  const line = { position: "absolute", bottom: 100 * limit + "%", width: "100%", borderTop: "1px dashed" };
  add(box, "div", undefined, line);
}
function suspicious(verdict) {
  const spans = verdict.suspicious.map(([start, end]) => start.toFixed(1) + " to " + end.toFixed(1) + " s");
  add(out, "p", spans.length ? "Sounds synthetic: " + spans.join(", ") : "No stretch sounds synthetic by itself.");
}
function table(id, heads) {
  const made = add(out, "table");
  made.id = id;
  const row = (tag, cells) => {
    const line = add(made, "tr");
    for (const cell of cells) add(line, tag, cell);
  };
  row("th", heads);
  return (cells) => row("td", cells);
}
function faces(tracks) {
  const row = table("faces", ["face", "seen", "probability", "does not count because"]);
  for (const track of tracks) {
    const seen = track.start_s.toFixed(1) + " to " + track.end_s.toFixed(1) + " s";
    const p = track.fake_probability === null ? "" : track.fake_probability.toFixed(3);
    row([String(track.id), seen, p, track.reasons.join(", ")]);
  }
}
function measured(evidence) {
  const rows = evidence.filter((each) => each.confidence !== null);
  if (!rows.length) return;
  const row = table("measured", ["measured", "value", "unit", "confidence"]);
  for (const each of rows) row([each.name, each.score.toFixed(3), each.unit, each.confidence.toFixed(2)]);
}
function decides(answer) {
  const part = answer.evidence.find((each) => each.unit === "probability" && each.score === answer.fake_probability);
  if (part) add(out, "p", "Decided by the " + part.name + "; the timeline is that of the " + part.name + ".");
}
function tell(progress) {
  out.replaceChildren();
  const bar = add(out, "progress", undefined, { width: "100%" });
  if (progress.duration_s) bar.value = Math.min(1, progress.seconds / progress.duration_s);
  const whole = progress.duration_s ? " of " + progress.duration_s.toFixed(1) : "";
  const p = progress.fake_probability === null ? "" : ", so far " + progress.fake_probability.toFixed(3);
  add(out, "p", "seen " + progress.seconds.toFixed(1) + whole + " s" + p);
}
async function listen(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new Error("it ended without a verdict");
    const blocks = (text + value).split("\\n\\n");
    text = blocks.pop();
    for (const block of blocks) {
      const field = (name) => block.split("\\n").find((line) => line.startsWith(name))?.slice(name.length);
      const name = field("event: ");
      if (name === undefined) continue;
      const told = JSON.parse(field("data: "));
      if (name !== "progress") return told;
      tell(told);
    }
  }
}
function show(answer) {
  out.replaceChildren();
  if (answer.error) {
    add(out, "p", answer.error.code + ": " + answer.error.message + ". " + answer.error.remedy);
    return;
  }
  const p = answer.fake_probability === null ? "" : " " + answer.fake_probability.toFixed(3);
  add(out, "h2", answer.label + p);
  if (answer.reasons.length) add(out, "p", answer.reasons.join(", "));
  if (answer.medium !== "image" && answer.input.duration_s) timeline(answer);
  const both = answer.medium === "multimodal" && !answer.reasons.includes("no_sound");
  if (both) decides(answer);
  if (answer.medium === "audio" || both) suspicious(answer);
  if (answer.tracks.length) faces(answer.tracks);
  measured(answer.evidence);
  const more = add(out, "details");
  add(more, "summary", "the whole verdict");
  add(more, "pre", JSON.stringify(answer, null, 2), { overflowX: "auto" });
}
let latest;
for (const form of document.forms) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (latest) latest.abort();
    const { signal } = (latest = new AbortController());
    out.replaceChildren();
    add(out, "p", "scanning \u2026");
    try {
      const headers = "events" in form.dataset ? { Accept: "text/event-stream" } : {};
      const response = await fetch(form.action, { method: "POST", body: new FormData(form), headers, signal });
      const type = response.headers.get("content-type") || "";
      const told = type.startsWith("text/event-stream");
      // A proxy in front of the gateway answers for it with a page of its own.
      if (!told && !type.startsWith("application/json")) throw new Error(response.status + " " + response.statusText);
      const answer = told ? await listen(response.body) : await response.json();
      if (!signal.aborted) show(answer);
    } catch (error) {
      if (signal.aborted) return;
      out.replaceChildren();
      add(out, "p", "the server gave no answer: " + error);
    }
  });
}
"""
_HASH = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
_POLICY = (
    f"default-src 'none'; script-src 'sha256-{_HASH}'; connect-src 'self'; style-src 'unsafe-inline'; img-src data:; "
    "form-action 'self'; frame-ancestors 'none'"
)

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>DeepScan</title>
<style>
  body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 42rem; margin: 3rem auto; padding: 0 1rem; }}
  fieldset {{ border: 1px solid #8888; border-radius: .5rem; padding: 1rem; margin-bottom: 1rem; }}
  label {{ display: block; margin-bottom: .75rem; }}
  table {{ border-collapse: collapse; }} th {{ text-align: left; }}
  td, th {{ padding: .15rem 1.25rem .15rem 0; vertical-align: top; }}
  :root {{ color-scheme: light dark; }}
</style>
<h1>DeepScan</h1>
<p>Tells whether a photo, a recording or a video was synthesised or manipulated, and shows why.</p>
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
<form action="{root}/api/predict/audio" method="post" enctype="multipart/form-data">
  <fieldset>
    <legend>Scan a recording</legend>
    <label>Recording, or a video whose sound is judged, at most {sound_megabytes} MB<br>
      <input type="file" name="file" accept="audio/*,video/*" required></label>
    <label>Threshold, 0 to 1 (empty: the measured operating point)<br>
      <input type="number" name="confidence_threshold" min="0" max="1" step="any"></label>
    <label><input type="checkbox" name="analyzers" value="true"> measure the voice as well</label>
    <button>Scan</button>
  </fieldset>
</form>
<form action="{root}/api/predict/video" method="post" enctype="multipart/form-data" data-events>
  <fieldset>
    <legend>Scan a video</legend>
    <label>Video, at most {film_megabytes} MB<br>
      <input type="file" name="file" accept="video/*,.gif,.webp" required></label>
    <label>Frames to judge, at most {frames} (empty: five a second)<br>
      <input type="number" name="num_frames" min="1" max="{frames}" step="1"></label>
    <label>Threshold, 0 to 1 (empty: the measured operating point)<br>
      <input type="number" name="confidence_threshold" min="0" max="1" step="any"></label>
    <label><input type="checkbox" name="analyzers" value="true"> measure the main face as well</label>
    <button>Scan</button>
  </fieldset>
</form>
<form action="{root}/api/predict/multimodal" method="post" enctype="multipart/form-data" data-events>
  <fieldset>
    <legend>Scan a video with its sound</legend>
    <label>Video, at most {film_megabytes} MB<br>
      <input type="file" name="file" accept="video/*" required></label>
    <label>Recording that begins with the video, at most {sound_megabytes} MB (none: its own sound track)<br>
      <input type="file" name="audio" accept="audio/*,video/*"></label>
    <label>Frames to judge, at most {frames} (empty: five a second)<br>
      <input type="number" name="num_frames" min="1" max="{frames}" step="1"></label>
    <label>Threshold, 0 to 1 (empty: the measured operating point)<br>
      <input type="number" name="confidence_threshold" min="0" max="1" step="any"></label>
    <label><input type="checkbox" name="analyzers" value="true"> measure the main face and the voice as well</label>
    <button>Scan</button>
  </fieldset>
</form>
<section id="out" aria-live="polite"></section>
{keys}
<h2>End points</h2>
<table>
  <tr><td><code>POST /api/predict/image</code><td>one photo
  <tr><td><code>POST /api/predict/audio</code><td>one recording
  <tr><td><code>POST /api/predict/video</code><td>one video, told step by step where that is asked for
  <tr><td><code>POST /api/predict/multimodal</code><td>one video and its sound together
  <tr><td><code>POST /api/batch-predict</code><td>up to {files} photos, recordings and videos
  <tr><td><a href="{root}/api/health"><code>GET /api/health</code></a><td>whether files would get a verdict now
  <tr><td><a href="{root}/api/models"><code>GET /api/models</code></a><td>models, versions, licences, measurements
  <tr><td><a href="{root}/api/stats"><code>GET /api/stats</code></a><td>counts, latency, errors, cache, memory
  <tr><td><a href="{root}/metrics"><code>GET /metrics</code></a><td>for Prometheus
  <tr><td><a href="{root}/docs"><code>GET /docs</code></a><td>every end point, to be tried out
</table>
<script>{script}</script>
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
        sound_megabytes=MAX_AUDIO_BYTES // 2**20,
        film_megabytes=MAX_VIDEO_BYTES // 2**20,
        frames=MAX_JUDGED_FRAMES,
        files=MAX_BATCH_FILES,
        script=_SCRIPT,
        keys=keys if asks_for_keys else "",
    )
    return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY})

"""How does the page look? Theme, styles of all tabs, and what the browser runs before anything is drawn."""

from __future__ import annotations

import gradio as gr

from infant_fer.report_html import STYLE

THEME = gr.themes.Soft(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])  # no font is fetched

# Browsers give the camera to pages from HTTPS or this computer only; elsewhere the page says so itself.
NO_CAMERA = (
    '<div class="ife"><p><b>No camera here:</b> the camera needs HTTPS or localhost. Open the page over HTTPS, or on the '
    "computer that serves it. Uploading a photo works.</p></div>"
)
NEEDS_HTTPS = "needs-https"  # the class of blocks with NO_CAMERA
# Gradio puts its own prefix before the rules of `css`, so that those on the whole document stand here.
HEAD = f"""<style>
html:not(.no-camera) .{NEEDS_HTTPS} {{ display: none !important; }}
.no-camera :is(#camera, #freeze, #live-switch, #photo .source-selection button[aria-label*="camera"]) {{ display: none !important; }}
</style>
<script>if (!window.isSecureContext) document.documentElement.classList.add("no-camera");</script>"""

PAGE_STYLE = """
footer { display: none !important; }
#card { contain: layout paint; }
#card table { display: block; overflow-x: auto; border: 0; } #card :is(td, th) { min-width: 7rem; }
@media (max-width: 640px) { .gradio-container { padding: .5rem !important; } }
"""

# The pictures stay in sight while the sliders move: beside them on a desk, above them on a phone, where the answer comes last.
LAB_STYLE = """
.gradio-container { overflow: clip !important; }
#lab-results { align-self: stretch; }
#lab-pictures { position: sticky; top: 0; z-index: 100; flex-grow: 0 !important; gap: .3rem; background: var(--body-background-fill); }
#lab-pictures .column { gap: .2rem; }
.lab-caption { text-align: center; font-size: .85rem; line-height: 1.2; }
#lab-pictures .icon-button-wrapper { display: none; } #lab-pictures .html-container { padding: 0 !important; }
.lab-short { text-align: center; }
.ife .strip { display: grid; grid-template-columns: repeat(auto-fill, minmax(84px, 1fr)); gap: .4rem; margin: .5rem 0; }
.ife .strip figure { margin: 0; border-bottom: 5px solid; } .ife .strip img { width: 100%; display: block; margin: 0; }
.ife .strip figcaption { font-size: .8rem; text-align: center; margin: 0; }
.ife .interpolation-plot { max-width: 520px; width: 100%; display: block; } .ife progress { width: 100%; }
.ife .interpolation-numbers { width: auto; }
.ife .interpolation-numbers :is(td, th) { padding: .1rem .7rem .1rem 0; text-align: right; font-weight: normal; }
@media (max-width: 640px) {
  #lab-bench { display: flex; flex-direction: column; flex-wrap: nowrap; }
  #lab-results { display: contents; } #lab-results > * { order: 2; }
  #lab-results > #lab-pictures { order: 0; padding: .3rem 0; } #lab-bench > * { order: 1; }
  #lab-pictures > .row { flex-wrap: nowrap; gap: .4rem; } #lab-pictures .row > * { min-width: 0 !important; }
  .lab-caption { font-size: .72rem; } .lab-short { font-size: .9rem; }
}
"""
CSS = STYLE + PAGE_STYLE + LAB_STYLE

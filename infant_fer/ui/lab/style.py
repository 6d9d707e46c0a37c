"""How is the Lab tab laid out on large and small screens? Kept apart: the page has it without the optional packages too."""

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
.ife .walk-plot { max-width: 520px; width: 100%; display: block; } .ife progress { width: 100%; }
.ife .walk-numbers { width: auto; }
.ife .walk-numbers td, .ife .walk-numbers th { padding: .1rem .7rem .1rem 0; text-align: right; font-weight: normal; }
@media (max-width: 640px) {
  #lab-bench { display: flex; flex-direction: column; flex-wrap: nowrap; }
  #lab-results { display: contents; } #lab-results > * { order: 2; }
  #lab-results > #lab-pictures { order: 0; padding: .3rem 0; } #lab-bench > * { order: 1; }
  #lab-pictures > .row { flex-wrap: nowrap; gap: .4rem; } #lab-pictures .row > * { min-width: 0 !important; }
  .lab-caption { font-size: .72rem; } .lab-short { font-size: .9rem; }
}
"""

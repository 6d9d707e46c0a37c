
// Several photos: hands them to the page one by one, and keeps the cards. Neither photos nor answers are stored anywhere.
window.infantFerSeveral = (() => {
  const MOST = 200, IN_TRAY = 12, PATIENCE = 120000, VERDICTS = ["cannot say", "none", "caution", "answer"];
  const { words, escape } = window.infantFer;
  const $ = (selector) => document.querySelector(selector);
  let waiting = [], current = null, total = 0, done = 0, cards = [], picked = [], opened = null, stopped = false, patience = 0;
  const files = new Map();  // by the number of their card, so that one can be opened again

  const choose = async (list) => {
    fault("");
    const found = [];
    for (const file of list) {
      if (/\.zip$/i.test(file.name)) {
        try { found.push(...await unzipped(file)); } catch { fault(words("bad_zip")); }
      } else if (window.infantFer.isPhoto(file)) found.push(file);
    }
    const room = MOST - cards.length - waiting.length;
    if (found.length > room) fault(words("too_many"));
    if (!found.length) { fault(words("no_photos")); return; }
    stopped = false;
    waiting.push(...found.slice(0, Math.max(0, room)));
    total = done + waiting.length + (current ? 1 : 0);
    progress();
    if (!current) next();
  };

  const next = () => {
    current = stopped ? null : waiting.shift() || null;
    progress();
    if (!current) { total = done = 0; waiting = []; return; }
    if (current.size > window.infantFer.MAX_BYTES) { fault(`${current.name}: ${words("too_large")}`); done += 1; next(); return; }
    const input = $("#several-photo input[type=file]");
    if (!input) { setTimeout(() => { const file = current; current = null; waiting.unshift(file); next(); }, 100); return; }
    window.infantFer.put(current, input);
    clearTimeout(patience);
    patience = setTimeout(failed, PATIENCE);
  };
  const add = (card) => {
    if (!card) return;
    clearTimeout(patience);
    if (card.full) { fault(card.fault); stop(); next(); return; }
    if (current) files.set(card.number, current);
    insert(card);
    done += 1;
    next();
  };
  const addLast = (card) => { if (card) { if (window.infantFer.lastFile) files.set(card.number, window.infantFer.lastFile()); insert(card); } };
  const failed = () => { clearTimeout(patience); if (current) { fault(`${current.name}: ${words("unanswered")}`); done += 1; setTimeout(next, 1500); } };
  const stop = () => { stopped = true; waiting = []; };
  const name = () => current ? current.name : "";
  const fault = (text) => { const place = $(".several-fault"); if (place) place.textContent = text; };

  const insert = (card) => { cards = [...cards.filter((each) => each.number !== card.number), card]; draw(); };
  const clear = () => { stop(); cards = []; picked = []; opened = null; files.clear(); fault(""); draw(); };
  const chosen = () => picked.length === 2 && opened === null ? picked : [opened];

  const breakable = (title) => title.replace(/[_-]/g, "$&<wbr>").replace(/\.(?=[^.]*$)/, "<wbr>.");  // lines end at the parts of a name
  const html = (card, withBox) => `<figure class="card" data-number="${card.number}" style="border-color:${card.colour || "transparent"}">` +
    `<button type="button" class="card-open" aria-label="${escape(`${words("open")} ${card.title}: ${card.headline}`)}">` +
    (card.picture ? `<img src="${card.picture}" alt="">` : `<span class="card-none">–</span>`) + `</button>` +
    `<figcaption><b>${escape(card.headline)}</b>${card.confidence ? ` ${Math.round(card.confidence * 100)} %` : ""}${card.verdict === "caution" ? ` <span class="caution">${words("with_caution")}</span>` : ""}` +
    `<span class="card-title">${breakable(escape(card.title))}</span>${withBox ? `<label><input type="checkbox" class="card-pick"${picked.includes(card.number) ? " checked" : ""}> ${words("compare")}</label>` : ""}</figcaption></figure>`;
  const draw = () => {
    const grid = $(".several-grid");
    if (!grid) return;
    const filter = $(".several-filter").value, order = $(".several-sort").value;
    const shown = cards.filter((card) => !filter || (filter[0] === "v" ? card.verdict : card.label) === filter.slice(2));
    const by = { number: (a, b) => a.number - b.number, title: (a, b) => a.title.localeCompare(b.title, undefined, { numeric: true }),
      verdict: (a, b) => VERDICTS.indexOf(a.verdict) - VERDICTS.indexOf(b.verdict) || a.number - b.number, confidence: (a, b) => a.confidence - b.confidence || a.number - b.number };
    grid.innerHTML = shown.sort(by[order]).map((card) => html(card, true)).join("");
    $(".several-tools").hidden = cards.length === 0;
    $(".several-two").disabled = picked.length !== 2;
    const tray = $("#tray .tray-cards");
    if (tray) { tray.innerHTML = cards.slice(-IN_TRAY).reverse().map((card) => html(card, false)).join(""); $("#tray .tray").hidden = cards.length < 2; }
  };
  const progress = () => {
    const place = $(".several-progress");
    if (!place) return;
    place.hidden = !current;
    place.querySelector("progress").value = total ? done / total : 0;
    place.querySelector(".several-count").textContent = `${done} / ${total}`;
  };

  const open = (number) => {
    opened = number;
    $("#several-open")?.click();
    const file = files.get(number);
    setTimeout(() => $("#several-detail")?.scrollIntoView({ block: "nearest" }), 400);
    return file;
  };
  const openInPhoto = (number) => {
    const file = files.get(number);
    if (!file) return false;
    document.querySelector("[role=tab][id*=photo], [role=tab]")?.click();
    setTimeout(() => window.infantFer.give(file), 60);
    return true;
  };
  const inside = (event, selector) => event.target.closest?.(selector);
  document.addEventListener("click", (event) => {
    if (inside(event, ".several-stop")) stop();
    if (inside(event, ".several-two") && picked.length === 2) { opened = null; $("#several-compare").click(); }
    const button = inside(event, ".card-open");
    if (!button) return;
    const number = Number(button.closest(".card").dataset.number);
    if (inside(event, "#tray")) { if (!openInPhoto(number)) { document.querySelectorAll("[role=tab]").forEach((tab) => { if (tab.textContent.trim() === words("several_tab")) tab.click(); }); open(number); } }
    else open(number);
  });
  document.addEventListener("change", (event) => {
    if (event.target.id === "several-files") { choose([...event.target.files]); event.target.value = ""; }
    if (inside(event, ".several-filter, .several-sort")) draw();
    if (inside(event, ".card-pick")) {
      const number = Number(event.target.closest(".card").dataset.number);
      picked = event.target.checked ? [...picked, number].slice(-2) : picked.filter((each) => each !== number);
      draw();
    }
  });
  document.addEventListener("keydown", (event) => { if ((event.key === "Enter" || event.key === " ") && event.target.matches?.(".several-drop")) { event.preventDefault(); $("#several-files").click(); } });
  for (const kind of ["dragover", "drop"]) document.addEventListener(kind, (event) => {
    if (!inside(event, "#several, #several-list")) return;
    event.preventDefault();
    if (kind === "drop") choose([...event.dataTransfer.files]);
  });

  // What was read in the Photo tab before this one is opened for the first time.
  new MutationObserver(() => {
    const grid = $(".several-grid");
    if (!grid || grid.dataset.drawn) return;
    grid.dataset.drawn = "yes";
    draw();
  }).observe(document.documentElement, { childList: true, subtree: true });

  // The photos of a zip archive, read in the browser (PKWARE's APPNOTE 6.3.10): the server never sees an archive.
  const unzipped = async (archive) => {
    const view = new DataView(await archive.arrayBuffer());
    let end = view.byteLength - 22;
    while (end >= 0 && view.getUint32(end, true) !== 0x06054b50) end -= 1;
    if (end < 0) throw new Error("no archive");
    const found = [];
    let at = view.getUint32(end + 16, true);
    for (let left = view.getUint16(end + 10, true); left > 0 && found.length < MOST && view.getUint32(at, true) === 0x02014b50; left -= 1) {
      const method = view.getUint16(at + 10, true), packed = view.getUint32(at + 20, true), size = view.getUint32(at + 24, true);
      const lengths = [28, 30, 32].map((offset) => view.getUint16(at + offset, true));
      const path = new TextDecoder().decode(new Uint8Array(view.buffer, at + 46, lengths[0]));
      const local = view.getUint32(at + 42, true);
      const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
      at += 46 + lengths[0] + lengths[1] + lengths[2];
      const title = path.split("/").pop();
      if (!title || title.startsWith(".") || path.startsWith("__MACOSX") || size > window.infantFer.MAX_BYTES || !window.infantFer.isPhoto({ name: title, type: "" })) continue;
      const bytes = new Uint8Array(view.buffer, start, packed);
      const stream = method === 0 ? null : new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
      found.push(new File([stream ? await limited(stream, size) : bytes], title));
    }
    return found;
  };
  const limited = async (stream, size) => {  // never more than the archive says
    const parts = [];
    let length = 0;
    for (const reader = stream.getReader(); ;) {
      const { value, done: ended } = await reader.read();
      if (ended) return new Blob(parts);
      length += value.length;
      if (length > size) { reader.cancel(); throw new Error("larger than it says"); }
      parts.push(value);
    }
  };
  return { add, addLast, failed, name, chosen, clear, draw };
})();

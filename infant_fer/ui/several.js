
// Several photos: hands them to the page one by one, and keeps the cards. Neither photos nor answers are stored anywhere.
window.infantFerSeveral = (() => {
  const MOST = 200, IN_TRAY = 12, PATIENCE = 120000, VERDICTS = ["cannot say", "none", "caution", "answer"], LABELS = ["positive", "neutral", "negative", "unclear", "none"];
  const { words, escape } = window.infantFer;
  const $ = (selector) => document.querySelector(selector);
  let waiting = [], current = null, total = 0, done = 0, cards = [], picked = [], opened = null, stopped = false, patience = 0, pause = 0, requests = 0, clears = 0;
  const sent = new Map();  // the photos whose answer is awaited, those that were given up too, by the id of their request; the oldest first
  const files = new Map();  // by the number of their card, so that one can be opened again
  const faults = new Map();  // what is wrong (a key of the words, or a sentence), and the names of the files that have it

  const choose = async (list) => {
    noFault();
    const found = [], before = clears;
    for (const file of list) {
      if (/\.zip$/i.test(file.name)) {
        try { found.push(...await unzipped(file)); } catch { fault("bad_zip", file.name); }
      } else if (window.infantFer.isPhoto(file)) found.push(file);
    }
    if (clears !== before) return;  // while an archive was unpacked
    const room = MOST - cards.length - waiting.length;
    if (found.length > room) fault("too_many");
    if (!found.length) { if (!faults.size) fault("no_photos"); return; }
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
    if (current.size > window.infantFer.MAX_BYTES) { fault("too_large", current.name); done += 1; next(); return; }
    const input = $("#several-photo input[type=file]");
    if (!input) { setTimeout(() => { const file = current; current = null; waiting.unshift(file); next(); }, 100); return; }
    sent.set(requests += 1, { file: current, begun: false });
    window.infantFer.put(current, input);
    clearTimeout(patience);
    patience = setTimeout(giveUp, PATIENCE);
  };
  const newest = (has) => [...sent].findLast(([, each]) => has(each))?.[0];
  const uploading = (file) => [...sent].find(([, each]) => !each.begun && window.infantFer.same(each.file, file)) || [];
  // The values of the event that reads an uploaded photo: the server's answer repeats the id of its request. Uploads end in
  // turn, so that one which none of the files is like is the newest.
  const begin = (photo, checkpoint) => {
    const name = photo?.orig_name || "", [found] = uploading({ name, size: photo?.size });
    const id = found ?? newest(({ begun }) => !begun), request = sent.get(id);
    if (request?.cleared) { sent.delete(id); return [null, "", null, checkpoint]; }
    if (request) request.begun = true;
    return [photo, name, id ?? null, checkpoint];
  };
  const add = (card) => {
    if (!card) return;
    const request = sent.get(card.request), file = request?.file;
    sent.delete(card.request);
    if (card.cleared || request?.cleared || (card.request != null && !request)) return;  // the list was cleared meanwhile
    if (card.full) { clearTimeout(patience); fault(card.fault); stop(); next(); return; }
    if (file) { files.set(card.number, file); withdraw("unanswered", file.name); }
    insert(card);
    if (!file || file !== current || pause) return;  // it was given up before, and the next one is under way
    clearTimeout(patience);
    done += 1;
    next();
  };
  const addLast = (card) => {
    if (!card) return;
    const file = window.infantFer.lastFile();  // of a newer photo, it may be
    if (file && !files.has(card.number) && file.name.startsWith(card.title)) files.set(card.number, file);
    insert(card);
    if (opened === card.number) $("#several-open")?.click();  // its answer counts the steadiness now
  };
  const giveUp = (key = "unanswered") => {
    clearTimeout(patience);
    if (!current || pause) return;
    fault(key, current.name);
    done += 1;
    pause = setTimeout(() => { pause = 0; next(); }, 1500);
  };
  // No answer will come: to the upload of `file`, or to the event with these `values` (of begin), or, where Gradio does not say to
  // which, to the newest event: those before it were given up already.
  const failed = (key, file, values) => {
    const id = file ? uploading(file)[0] : values?.[2] ?? newest(({ begun }) => begun), lost = sent.get(id)?.file;
    sent.delete(id);
    if (lost && lost === current) giveUp(key);
  };
  window.infantFer.senders.push({ field: "several-photo", owns: (file) => uploading(file).length > 0, failed });
  const stop = () => { stopped = true; waiting = []; };
  const fault = (key, name) => { faults.set(key, [...(faults.get(key) || []), ...(name ? [name] : [])]); sayFaults(); };
  const withdraw = (key, name) => {
    const names = faults.get(key) || [], place = names.indexOf(name);
    if (place >= 0) names.splice(place, 1);
    if (names.length === 0) faults.delete(key);
    sayFaults();
  };
  const noFault = () => { faults.clear(); sayFaults(); };
  const sayFaults = () => {
    const place = $(".several-fault");
    if (place) place.textContent = [...faults].map(([key, names]) => [names.join(", "), words(key) || key].filter(Boolean).join(": ")).join("\n");
  };

  const insert = (card) => {
    const place = cards.findIndex((each) => each.number === card.number);
    if (place < 0) cards.push(card); else cards[place] = card;
    draw();
  };
  const clear = () => {
    clears += 1;
    stop();
    for (const each of sent.values()) each.cleared = true;
    clearTimeout(patience); clearTimeout(pause);
    current = null; pause = total = done = 0;
    progress();
    cards = []; picked = []; opened = null; files.clear(); noFault(); draw();
  };
  const compared = () => picked;
  const shown = () => [opened, files.has(opened)];

  const breakable = (title) => title.replace(/[_-]/g, "$&<wbr>").replace(/\.(?=[^.]*$)/, "<wbr>.");  // lines end at the parts of a name
  const html = (card, withBox) => `<figure class="card" data-number="${card.number}" style="border-color:${card.colour || "rgba(128,128,128,.4)"}">` +
    `<button type="button" class="card-open" aria-label="${escape(`${words("open")} ${card.title}: ${card.headline}`)}">` +
    (card.picture ? `<img src="${card.picture}" alt="">` : `<span class="card-none">–</span>`) + `</button>` +
    `<figcaption><b>${escape(card.headline)}</b>${card.confidence && card.label !== "unclear" ? ` ${Math.round(card.confidence * 100)} %` : ""}${card.verdict === "caution" ? ` <span class="caution">${words("with_caution")}</span>` : ""}` +
    `<span class="card-title">${breakable(escape(card.title))}</span>${withBox ? `<label><input type="checkbox" class="card-pick" aria-label="${words("compare")}: ${escape(card.title)}"${picked.includes(card.number) ? " checked" : ""}> ${words("compare")}</label>` : ""}</figcaption></figure>`;
  const drawTray = () => {
    const tray = $("#tray .tray-cards");
    if (!tray) return;
    tray.innerHTML = cards.slice(-IN_TRAY).reverse().map((card) => html(card, false)).join("");
    $("#tray .tray").hidden = cards.length < 2;
  };
  const draw = () => {
    drawTray();
    const grid = $(".several-grid");
    if (!grid) return;  // the tab was not opened yet
    const filter = $(".several-filter").value, order = $(".several-sort").value;
    const [least, below] = $(".several-confidence").value.split("-").map(Number);
    const shown = cards.filter((card) => (!filter || (filter[0] === "v" ? card.verdict : card.label) === filter.slice(2)) &&
      card.confidence >= least && card.confidence < below);
    const by = { number: (a, b) => a.number - b.number, title: (a, b) => a.title.localeCompare(b.title, undefined, { numeric: true }),
      verdict: (a, b) => VERDICTS.indexOf(a.verdict) - VERDICTS.indexOf(b.verdict) || a.number - b.number, confidence: (a, b) => a.confidence - b.confidence || a.number - b.number,
      label: (a, b) => LABELS.indexOf(a.label) - LABELS.indexOf(b.label) || b.confidence - a.confidence || a.number - b.number };
    const focused = grid.contains(document.activeElement) && document.activeElement, kind = focused && [...focused.classList].find((name) => name.startsWith("card-"));
    const number = focused && focused.closest(".card")?.dataset.number;
    grid.innerHTML = shown.sort(by[order]).map((card) => html(card, true)).join("");
    if (kind && number) grid.querySelector(`.card[data-number="${number}"] .${kind}`)?.focus({ preventScroll: true });  // the keyboard goes on from there
    $(".several-tools").hidden = cards.length === 0;
    $(".several-two").disabled = picked.length !== 2;
  };
  const progress = () => {
    const place = $(".several-progress");
    if (!place) return;
    place.hidden = !current;
    place.querySelector("progress").value = total ? done / total : 0;
    place.querySelector(".several-count").textContent = `${done} / ${total}`;
  };

  // Gradio draws the tab when it is first opened: its buttons come a moment later.
  const whenThere = (selector, act, tries = 100) => {
    const element = $(selector);
    if (element) act(element);
    else if (tries) setTimeout(() => whenThere(selector, act, tries - 1), 50);
  };
  const open = (number) => {
    opened = number;
    whenThere("#several-open", (button) => button.click());
    setTimeout(() => $("#several-detail")?.scrollIntoView({ block: "nearest" }), 400);
  };
  const openTab = () => {
    const named = (each) => each.textContent.trim() === words("several_tab");
    const tab = [...document.querySelectorAll("[role=tab]")].find(named);
    if (tab) { tab.click(); return; }
    $(".overflow-menu > button").click();  // on a narrow page
    whenThere(".overflow-dropdown button", () => [...document.querySelectorAll(".overflow-dropdown button")].find(named).click());
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
    const explained = inside(event, ".several-explain");
    if (explained) openInPhoto(Number(explained.dataset.number));
    if (inside(event, ".several-two") && picked.length === 2) { opened = null; $("#several-compare").click(); }
    const button = inside(event, ".card-open");
    if (!button) return;
    const number = Number(button.closest(".card").dataset.number);
    if (inside(event, "#tray")) { if (!openInPhoto(number)) { openTab(); open(number); } }
    else open(number);
  });
  document.addEventListener("change", (event) => {
    if (event.target.id === "several-files") { choose([...event.target.files]); event.target.value = ""; }
    if (inside(event, ".several-filter, .several-confidence, .several-sort")) draw();
    if (inside(event, ".card-pick")) {
      const number = Number(event.target.closest(".card").dataset.number);
      picked = event.target.checked ? [...picked, number].slice(-2) : picked.filter((each) => each !== number);
      draw();
    }
  });
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
    let at = view.getUint32(end + 16, true), left = view.getUint16(end + 10, true);
    for (; left > 0 && found.length <= MOST && at + 46 <= end && view.getUint32(at, true) === 0x02014b50; left -= 1) {
      const lengths = [28, 30, 32].map((offset) => view.getUint16(at + offset, true));
      const path = new TextDecoder().decode(new Uint8Array(view.buffer, at + 46, lengths[0])), title = path.split("/").pop();
      const entry = at;
      at += 46 + lengths[0] + lengths[1] + lengths[2];
      if (!title || title.startsWith(".") || path.startsWith("__MACOSX") || !window.infantFer.isPhoto({ name: title, type: "" })) continue;
      if (view.getUint32(entry + 24, true) > window.infantFer.MAX_BYTES) { fault("too_large", title); continue; }
      try { found.push(new File([await content(view, entry)], title)); } catch { fault("bad_entry", title); }
    }
    if (left > 0 && found.length <= MOST) fault("bad_zip", archive.name);  // its list ends too early
    return found;
  };
  // The bytes of one entry, whose record in the archive's list begins at `at`.
  const content = async (view, at) => {
    const encrypted = view.getUint16(at + 8, true) & 1, method = view.getUint16(at + 10, true);
    const packed = view.getUint32(at + 20, true), local = view.getUint32(at + 42, true);
    if (encrypted || ![0, 8].includes(method) || view.getUint32(local, true) !== 0x04034b50) throw new Error("unreadable");
    const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    const bytes = new Uint8Array(view.buffer, start, packed);
    return method === 0 ? bytes : limited(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw")), view.getUint32(at + 24, true));
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
  return { add, addLast, begin, failed, compared, opened: shown, clear, draw };
})();

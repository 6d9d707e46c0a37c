// What the browser does by itself: clearing a stale answer, refusing what is no photo before it is sent, the picture switch.
window.infantFer = (() => {
  const ACCEPTED = /\.(jpe?g|jfif|png|webp|avif|hei[cf])$/i, MAX_BYTES = 12 * 2 ** 20;
  const WORDS = /*WORDS*/ {};
  const language = () => (navigator.languages || ["en"]).map((name) => name.slice(0, 2)).find((name) => name in WORDS) || "en";
  const words = (key) => WORDS[language()][key];
  document.documentElement.lang = language();
  const hidden = { __type__: "update", visible: false };
  const answer = (text, kind) => `<div class="ife ${kind}">${text}</div>`;
  const escape = (text) => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
  let sentence = null, busyTimer = 0;
  let gone = false;  // the page has cleared its photo, and the server does not know
  let stopped = false;  // the person ended the drawing of the map, which Gradio may report as a failure of it

  const cleared = () => {
    stopped = true;
    return [null, null, answer(`<p>${words("waiting")}</p>`, "waiting"), "", hidden, hidden, ""];
  };
  const unread = (text) => answer(`<h2>${words("no_answer")}</h2><p class="fault">${escape(text)}</p>`, "answer unread");
  const failed = () => {
    const text = sentence || words("unanswered");
    sentence = null;
    stopped = true;
    gone = !awaited;  // else an answer is on its way that brings its own photo
    return [null, null, null, unread(text), "", hidden, hidden, ""];
  };
  const draws = (...values) => { stopped = false; return values; };
  const skip = { __type__: "update" };
  const noMap = () => stopped ? [skip, skip, hidden] : [null, answer(`<p class="fault">${words("no_map")}</p>`, ""), hidden];
  const fail = (key) => { sentence = words(key); document.querySelector("#photo-fail")?.click(); };

  const isPhoto = (file) => ACCEPTED.test(file.name) || /^image\/(jpeg|png|webp|avif|hei[cf])$/.test(file.type);
  const fault = (file) => !isPhoto(file) ? "not_a_photo" : file.size > MAX_BYTES ? "too_large" : file.size === 0 ? "not_a_photo" : null;
  const refuse = (event, file) => {
    const key = file && fault(file);
    if (!key) return false;
    event.preventDefault(); event.stopImmediatePropagation();
    fail(key);
    return true;
  };
  let chosenFile = null;  // the file of the photo that is shown, while it is known
  const inPhoto = (event) => event.target.closest?.("#photo");
  document.addEventListener("change", (event) => {
    if (!inPhoto(event) || event.target.type !== "file" || event.target.id === "photo-chooser") return;
    chosenFile = event.target.files[0] || null;
    if (refuse(event, chosenFile)) event.target.value = "";
  }, true);
  document.addEventListener("drop", (event) => {
    if (!inPhoto(event)) return;
    chosenFile = event.dataTransfer?.files[0] || null;
    refuse(event, chosenFile);
  }, true);
  document.addEventListener("click", (event) => { if (event.target.closest?.("#examples button, #photo .source-selection button, #freeze, #clip-explain")) chosenFile = null; }, true);

  // The upload button opens the chooser at once; what is shown stays until a photo is chosen.
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("#photo .source-selection button");
    if (!button) return;
    const kind = button.dataset.gradio || button.getAttribute("aria-label") || "";
    if (kind.startsWith("Upload") && document.querySelector("#photo img")) {
      event.preventDefault(); event.stopImmediatePropagation();
      const chooser = Object.assign(document.createElement("input"), { type: "file", accept: "image/*,.heic,.heif", id: "photo-chooser" });
      chooser.style.display = "none";
      document.querySelector("#photo").append(chooser);
      chooser.addEventListener("change", () => { const [file] = chooser.files; chooser.remove(); if (file) give(file); });
      chooser.addEventListener("cancel", () => chooser.remove());
      chooser.click();
    } else if (kind.startsWith("Paste")) explainPaste();
  }, true);

  // Files from archives, and HEIC in some browsers, come without a type, which Gradio needs.
  const typed = (file) => {
    const ending = file.name.split(".").pop().toLowerCase();
    const type = `image/${{ jpg: "jpeg", jfif: "jpeg", heif: "heic" }[ending] || ending}`;
    return file.type.startsWith("image/") ? file : new File([file], file.name, { type });
  };
  const put = (file, input) => {
    const data = new DataTransfer();
    data.items.add(typed(file));
    input.files = data.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  };
  // Hand a file to the photo, as if it were dropped on it.
  const give = (file) => {
    const data = new DataTransfer();
    data.items.add(typed(file));
    const input = document.querySelector("#photo input[type=file]:not(#photo-chooser)");
    const target = document.querySelector("#photo .image-container, #photo .upload-container") || document.querySelector("#photo");
    if (input) put(file, input);
    else target.dispatchEvent(new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: data }));
  };

  const explainPaste = async () => {
    if (!navigator.clipboard?.read) return fail("no_clipboard");
    try {
      const items = await navigator.clipboard.read();
      if (!items.some((item) => item.types.some((type) => type.startsWith("image/")))) fail("empty_clipboard");
    } catch { fail("no_clipboard"); }
  };

  // Uploads that the server refuses, or that do not reach it, raise no event of Gradio's, nor do events that do not reach it.
  // Each field for files other than the photo's says so itself: {field: its id, owns(file),
  // failed(key of the words, file if its upload failed, values of the event if that did not get there)}.
  const senders = [];
  const same = (one, other) => Boolean(one && other) && one.name === other.name && one.size === other.size;
  const uploadFailed = (options, key) => {
    const file = options?.body?.get?.("files");
    (senders.find((each) => each.owns(file))?.failed || fail)(key, file);
  };
  // The component whose event a request is; undefined for what follows the end of another event, though its trigger_id is that one's.
  const fieldOf = (options) => {
    const { components, dependencies } = window.gradio_config, { fn_index } = JSON.parse(options.body);
    const [target] = dependencies.find((each) => each.id === fn_index)?.targets[0] || [];
    return components.find((each) => each.id === target)?.props?.elem_id;
  };
  const BRINGS_ANSWER = /^(photo|example-.+|checkpoint|face|landmarks|freeze|clip-explain)$/;
  const eventFailed = (options) => {
    const field = fieldOf(options);
    const sender = senders.find((each) => each.field === field);
    if (field === "checkpoint") document.querySelector("#checkpoint-lost")?.click();
    if (sender) sender.failed("unanswered", null, JSON.parse(options.body).data);
    else if (BRINGS_ANSWER.test(field)) fail("unanswered");  // else the answer stands
  };
  const isRemoval = (options) => fieldOf(options) === "photo" && JSON.parse(options.body).data[0] === null;
  const withHeader = (headers, name) => { const all = new Headers(headers); all.set(name, "1"); return all; };
  const fetched = window.fetch;
  window.fetch = async (address, options) => {
    const target = String(address?.url || address);
    const isUpload = /\/upload(\?|$)/.test(target), isEvent = /\/queue\/join/.test(target);
    const tells = isEvent && (gone || isRemoval(options));
    if (isEvent && BRINGS_ANSWER.test(fieldOf(options))) awaited += 1;
    try {
      const response = await fetched(address, tells ? { ...options, headers: withHeader(options.headers, "x-photo-gone") } : options);
      if (tells && response.ok) gone = false;
      if (isUpload && !response.ok) uploadFailed(options, { 413: "too_large", 503: "busy" }[response.status] || "unanswered");
      return response;
    } catch (error) {
      if (isUpload) uploadFailed(options, "unanswered");
      if (isEvent) eventFailed(options);
      throw error;
    }
  };

  // After a lost event Gradio sends no other, and says so, until the server is there again: then it reloads the page. An
  // answer that should have been replaced meanwhile is not that of the photo beside it.
  const LOST = "Connection to the server was lost. Attempting reconnection...";
  const BUSY = "This application is currently busy. Please try again.";
  let awaited = 0;  // how many events that bring an answer have not ended
  const ended = () => { awaited = Math.max(0, awaited - 1); };
  let isLost = false, reloaded = Boolean(history.state?.connectionLost);
  if (reloaded) history.replaceState(null, "");
  window.addEventListener("beforeunload", () => { if (isLost) history.replaceState({ connectionLost: true }, ""); });
  const sayUnanswered = () => { const shown = document.querySelector("#answer .ife"); if (shown) shown.outerHTML = unread(words("unanswered")); };
  document.addEventListener("click", (event) => { if (isLost && event.target.closest?.("#examples button")) sayUnanswered(); });
  const watchConnection = () => {
    for (const each of document.querySelectorAll(".toast-title, .toast-message-text")) {
      if (each.textContent.trim() === LOST) {
        isLost = true;
        if (awaited) sayUnanswered();
        awaited = 0;
      }
      for (const text of ["Error", LOST, BUSY]) replaceText(each, text);
    }
    const place = document.querySelector("#answer .waiting");
    if (reloaded && document.querySelector("#answer .answer")) reloaded = false;
    if (reloaded && place && !place.querySelector(".fault")) place.insertAdjacentHTML("afterbegin", `<p class="fault">${words("reloaded")}</p>`);
  };

  // Phones show one picture: the map over the face, uncovered from the left by the slider.
  const split = (value) => {
    document.documentElement.style.setProperty("--split", `${value}%`);
    document.querySelectorAll("#picture-switch button").forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.split === String(value))));
    const range = document.querySelector("#picture-switch input");
    if (range && range.value !== String(value)) range.value = value;
  };
  document.addEventListener("input", (event) => { if (event.target.closest?.("#picture-switch")) split(Number(event.target.value)); });
  document.addEventListener("click", (event) => { const button = event.target.closest?.("#picture-switch button"); if (button) split(Number(button.dataset.split)); });

  // For a lecture hall: larger type, and nothing but the photo, the answer and the pictures.
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("#projector");
    if (button) button.setAttribute("aria-pressed", String(document.documentElement.classList.toggle("projector")));
  });

  // One click starts the camera and the stream; the front or the rear camera is chosen before.
  let facing = "user", asking = 0;  // how often the browser is asking for the camera just now
  const media = navigator.mediaDevices;
  if (media?.getUserMedia) {
    const real = media.getUserMedia.bind(media);
    media.getUserMedia = async (asked) => {
      const video = asked?.video === true ? {} : asked?.video;
      asking += 1;
      try {
        return await real(video && !video.deviceId ? { ...asked, video: { ...video, facingMode: { ideal: facing } } } : asked);
      } finally { asking -= 1; }
    };
  }
  const cameraButtons = () => [...document.querySelectorAll("#camera button")].filter((each) => each.offsetParent);
  const cameraRuns = () => document.querySelector("#camera video")?.srcObject?.getVideoTracks().some((each) => each.readyState === "live") ?? false;
  // The tab may have been opened just now, without buttons yet, and the person may think for long about the browser's question.
  let cameraTimer = 0;
  const startCamera = () => {
    let asked = asking > 0, tries = 0;  // a second click asks for no second camera, which would stay on after Stop
    const step = () => {
      const buttons = cameraButtons();
      const record = buttons.find((each) => each.classList.contains("capture-button"));  // its words are in the visitor's language
      if (record?.querySelector("[title='start recording'], [data-gradio='start recording']")) record.click();  // else it is Stop
      else if (buttons.length && !record && !asked) { asked = true; buttons[0].click(); }
      if (record || (!asking && (tries += 1) > 100)) clearInterval(cameraTimer);
    };
    clearInterval(cameraTimer);
    cameraTimer = setInterval(step, 100);
    step();
  };
  document.addEventListener("click", (event) => { if (event.target.closest?.("#live-start")) startCamera(); });
  // While the camera runs, the track of the stream that Gradio holds is replaced, so that its own stop button ends the new camera too.
  const turnCamera = async () => {
    const stream = document.querySelector("#camera video")?.srcObject;
    const [old] = stream?.getVideoTracks() || [];
    if (old?.readyState !== "live") return;
    const { width, height } = old.getSettings();
    old.stop();  // first: phones open one camera at a time
    const [track] = (await media.getUserMedia({ video: { width: { ideal: width }, height: { ideal: height } } })).getVideoTracks();
    if (old !== stream.getVideoTracks()[0]) { track.stop(); return; }  // turned again, or ended, meanwhile
    stream.removeTrack(old); stream.addTrack(track);
  };
  document.addEventListener("change", (event) => {
    if (!event.target.closest?.("#live-facing")) return;
    facing = event.target.value;
    turnCamera();
  });

  // Screen readers are told the answer, and what the pictures show; the answer comes into view.
  const watch = () => {
    const region = document.querySelector("#answer");
    if (region && !region.hasAttribute("aria-live")) {
      region.setAttribute("aria-live", "polite"); region.setAttribute("role", "status");
      new MutationObserver(() => {
        clearTimeout(busyTimer);
        busyTimer = setTimeout(() => { describe(region); show(region); }, 60);
      }).observe(region, { childList: true, subtree: true, characterData: true });
    }
    describe(region);
    document.querySelectorAll("[data-words]").forEach(say);
    watchConnection();
    mend();
  };
  // What Gradio's own components lack for screen readers (axe-core's rules of the same names).
  const mend = () => {
    document.querySelectorAll("#example-row button:not([title])").forEach((each) => { each.title = each.textContent.trim(); });
    document.querySelectorAll("div[aria-label='Empty value']:not([role])").forEach((each) => each.setAttribute("role", "img"));
    for (const attribute of ["aria-label", "title"]) document.querySelectorAll(`[${attribute}]`).forEach((each) => rename(each, attribute));
    document.querySelectorAll("fieldset label > input[title]").forEach((each) => { const text = each.parentElement.innerText.trim(); if (text && each.title !== text) each.title = text; });
    document.querySelectorAll("button.upload-container[aria-label]").forEach((each) => each.removeAttribute("aria-label"));
    document.querySelectorAll(".image-container > button:not([aria-label])").forEach((each) => { if (!each.innerText.trim()) each.setAttribute("aria-label", words("picture")); });
  };
  // Gradio has these names in English only; data-gradio keeps what they were.
  const rename = (element, attribute) => {
    const name = element.getAttribute(attribute);
    // Gradio's slider says its kind in English, which a screen reader says by itself in the visitor's language.
    const plain = name.replace(/^(number input|range slider) for /, "");
    if (plain !== name) element.setAttribute(attribute, plain);
    if (!(name in WORDS.en) || WORDS.en[name] !== name) return;
    if (element.dataset.gradio !== name) element.dataset.gradio = name;
    if (words(name) !== name) element.setAttribute(attribute, words(name));
    if (name === "grant webcam access") replaceText(element, "Click to Access Webcam");
  };
  const replaceText = (element, text) => {
    const texts = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) if (texts.currentNode.nodeValue.trim() === text) texts.currentNode.nodeValue = words(text);
  };
  const say = (element) => {
    const text = words(element.dataset.words);
    if (["INPUT", "VIDEO"].includes(element.tagName)) { if (element.ariaLabel !== text) element.ariaLabel = text; }
    else if (element.textContent !== text) element.textContent = text;
  };
  // Gradio gives every choice of a group a name of its own, so that the browser would not move between them by arrow keys.
  const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
  document.addEventListener("keydown", (event) => {
    const group = event.target.type === "radio" && event.target.closest("fieldset");
    if (!group || !(event.key in STEPS) || event.ctrlKey || event.altKey || event.metaKey) return;
    const choices = [...group.querySelectorAll("input[type=radio]:not(:disabled)")];
    const next = choices.at((choices.indexOf(event.target) + STEPS[event.key]) % choices.length);
    event.preventDefault();
    next.focus(); next.click();
  });
  let lastHeadline = "";
  const show = (region) => {
    const headline = region.querySelector(".answer h2");
    const text = headline?.innerText || "";
    if (text && text !== lastHeadline) {
      const box = headline.getBoundingClientRect();
      if (headline.offsetParent && (box.top < 0 || box.bottom > innerHeight)) document.querySelector("#photo-side")?.scrollIntoView({ block: "start" });
    }
    lastHeadline = text;
  };
  const describe = (region) => {
    const said = [region?.querySelector("h2"), region?.querySelector(".sentence, .reason")].map((each) => each?.innerText || "").join(". ");
    for (const [id, key] of [["photo", "photo_alt"], ["landmarks", "landmarks_alt"], ["map", "map_alt"]]) {
      const image = document.querySelector(`#${id} img`);
      const alt = id === "photo" ? words(key) : `${words(key)} ${said}`;
      if (image && image.alt !== alt) image.alt = alt;
    }
  };
  const begin = () => { watch(); new MutationObserver(watch).observe(document.body, { childList: true, subtree: true }); };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", begin); else begin();
  const lastFile = () => chosenFile;
  return { isPhoto, MAX_BYTES, senders, same, cameraRuns, lastFile, put, cleared, failed, ended, draws, noMap, fail, give, words, escape };
})();

// Mends the stream of answers, in which Gradio's page gets those of all its events.
// - Gradio's server ends the stream when no event is left, and its page opens another with the next event, unless it believes
//   that the old one is still open: the answer to an event that is sent between the end and its arrival would never be
//   fetched, and the page would wait for good. Here the stream goes on while an event waits.
// - A stream for which no event waits would never end, until the server forgets the visitor: it ends at once.
// - What was on its way when an event was cancelled would still be shown: it is left out.
(() => {
  const send = window.fetch;
  const unanswered = new Set(), early = new Set();  // ids of events: an answer may come before the event's own id
  const cancelled = new Set();
  const joining = new Set();  // events whose id is not known yet
  const END = 'data: {"msg":"close_stream","event_id":null}\n\n';
  const begin = (id) => { if (!early.delete(id)) unanswered.add(id); };
  const end = (id) => { if (!unanswered.delete(id)) early.add(id); };

  // Return what the page gets of a message that is not the stream's end: as it came, without values, or nothing.
  const passed = (text, { msg, event_id, ...rest }) => {
    if (msg === "process_completed") end(event_id);
    if (!event_id || !cancelled.has(event_id)) return `${text}\n\n`;
    return msg === "process_completed" ? `data: ${JSON.stringify({ msg, event_id, ...rest, output: {}, success: true })}\n\n` : "";
  };

  // Return a stream of answers that goes on, by asking again, where it ends while an event waits.
  const continued = (ask, response) => {
    let reader = response.body.getReader(), begun = "";
    const decoder = new TextDecoder(), encoder = new TextEncoder();
    const pull = async (controller) => {
      for (let given = ""; !given;) {  // one that gives nothing would not be called again
        const { done, value } = await reader.read().catch((error) => { unanswered.clear(); throw error; });
        if (done) { controller.close(); return; }
        const messages = (begun + decoder.decode(value, { stream: true })).split("\n\n");
        begun = messages.pop();
        let ended = false;
        for (const text of messages) {
          const message = text.startsWith("data: ") ? JSON.parse(text.slice("data: ".length)) : {};
          ended = message.msg === "close_stream" && unanswered.size > 0;
          if (!ended) given += passed(text, message);
        }
        if (given) controller.enqueue(encoder.encode(given));
        if (ended) {
          const next = await ask();
          if (!next.ok) throw new Error(`The stream of answers: ${next.status}`);
          reader = next.body.getReader();
        }
      }
    };
    const body = new ReadableStream({ pull, cancel: (reason) => reader.cancel(reason) });
    return new Response(body, { status: response.status, headers: response.headers });
  };

  const join = async (address, options) => {
    const event = { fn_index: JSON.parse(options.body).fn_index };
    event.id = new Promise((resolve) => { event.tell = resolve; });
    joining.add(event);
    try {
      const response = await send(address, options);
      if (response.ok) {
        const { event_id } = await response.clone().json();
        begin(event_id);
        event.tell(event_id);
      }
      return response;
    } finally {
      joining.delete(event);
      event.tell(null);
    }
  };

  // An event that is cancelled before its id is known is cancelled as soon as it is: the server could not tell which is meant.
  const cancel = async (address, options) => {
    const asked = JSON.parse(options.body);
    const event_id = asked.event_id || await [...joining].findLast((each) => each.fn_index === asked.fn_index)?.id || null;
    cancelled.add(event_id);
    return send(address, { ...options, body: JSON.stringify({ ...asked, event_id }) });
  };

  window.fetch = async (address, options) => {
    const target = String(address?.url || address), ask = () => send(address, options);
    if (/\/queue\/join(\?|$)/.test(target)) return join(address, options);
    if (/\/cancel(\?|$)/.test(target)) return cancel(address, options);
    if (!/\/queue\/data\?/.test(target)) return ask();
    const response = unanswered.size ? await ask() : new Response(END, { headers: { "Content-Type": "text/event-stream" } });
    return response.ok ? continued(ask, response) : response;
  };
})();

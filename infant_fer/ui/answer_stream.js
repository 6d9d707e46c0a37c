// Keeps the stream of answers open while an event waits for one. Gradio's server ends the stream when no event is left, and
// its page opens another with the next event, unless it believes that the old one is still open: the answer to an event that
// is sent between the end and its arrival would never be fetched, and the page would wait for good.
(() => {
  const send = window.fetch;
  const unanswered = new Set(), early = new Set();  // ids of events: an answer may come before the event's own id
  const begin = (id) => { if (!early.delete(id)) unanswered.add(id); };
  const end = (id) => { if (!unanswered.delete(id)) early.add(id); };

  // Return a stream of answers that goes on, by asking again, where it ends while an event waits.
  const continued = (ask, response) => {
    let reader = response.body.getReader(), begun = "";
    const decoder = new TextDecoder(), encoder = new TextEncoder();
    const pull = async (controller) => {
      for (let passed = ""; !passed;) {  // one that passes nothing on would not be called again
        const { done, value } = await reader.read();
        if (done) { controller.close(); return; }
        const messages = (begun + decoder.decode(value, { stream: true })).split("\n\n");
        begun = messages.pop();
        let ended = false;
        for (const text of messages) {
          const { msg, event_id } = text.startsWith("data: ") ? JSON.parse(text.slice("data: ".length)) : {};
          if (msg === "process_completed") end(event_id);
          ended = msg === "close_stream" && unanswered.size > 0;
          if (!ended) passed += `${text}\n\n`;
        }
        if (passed) controller.enqueue(encoder.encode(passed));
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

  window.fetch = async (address, options) => {
    const response = await send(address, options), target = String(address?.url || address);
    if (response.ok && /\/queue\/join(\?|$)/.test(target)) begin((await response.clone().json()).event_id);
    return response.ok && /\/queue\/data\?/.test(target) ? continued(() => send(address, options), response) : response;
  };
})();

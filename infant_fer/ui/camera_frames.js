// Gradio's page sends the camera's frames at a fixed pace, also while the server has not taken the ones before. On a slow line or
// a busy computer they would fill the browser's few connections, and a photo would wait behind frames that are old when they
// arrive. Here a frame is left out while two are on their way; the next one is newer anyway.
(() => {
  const MOST = 2, send = window.fetch;
  let sending = 0;
  window.fetch = async (address, options) => {
    if (!/\/stream\/[^/?]+(\?|$)/.test(String(address?.url || address))) return send(address, options);
    if (sending === MOST) return Response.json({ msg: "success" });
    sending += 1;
    try {
      return await send(address, options);
    } finally {
      sending -= 1;
    }
  };
})();

// Not inline, so that the page's Content-Security-Policy allows no inline script.
Redoc.init(
  document.currentScript.dataset.document,
  { hideDownloadButton: false, disableSearch: false },
  document.getElementById("reference"),
);

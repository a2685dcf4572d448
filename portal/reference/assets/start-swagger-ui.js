// Not inline, so that the page's Content-Security-Policy allows no inline script.
SwaggerUIBundle({
  url: document.currentScript.dataset.document,
  dom_id: "#reference",
  deepLinking: true,
  displayRequestDuration: true,
  // The validator is another host's, and would be told of every document.
  validatorUrl: null,
});

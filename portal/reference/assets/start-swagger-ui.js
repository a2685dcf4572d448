// Not inline, so that the page's Content-Security-Policy allows no inline script.
SwaggerUIBundle({
  url: document.currentScript.dataset.document,
  dom_id: "#reference",
  // Its links stand within buttons, where neither keyboards nor screen readers tell the two apart (WCAG 2.2, 4.1.2).
  deepLinking: false,
  displayRequestDuration: true,
  // The validator is another host's, and would be told of every document.
  validatorUrl: null,
});

// Shows /openapi.json of this server. With API_TOKEN the document itself needs the token, so it is
// asked for here; it stays in this page's memory and is sent to this server alone.
"use strict";

const place = document.getElementById("docs");
const ask = document.getElementById("ask");
const said = document.getElementById("said");
const source = place.dataset.openapi;
const scheme = "apiToken";

async function load(token) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let answer;
  try {
    answer = await fetch(source, { headers });
  } catch {
    return `${source} cannot be read: the server does not answer.`;
  }
  if (answer.status === 401) {
    ask.hidden = false;
    document.getElementById("token").focus();
    return token ? "That is not the token." : "";
  }
  if (!answer.ok) return `${source} is answered ${answer.status}.`;
  show(await answer.json(), token);
  return "";
}

function show(spec, token) {
  ask.hidden = true;
  const ui = SwaggerUIBundle({
    spec,
    domNode: place,
    presets: [SwaggerUIBundle.presets.apis],
    layout: "BaseLayout",
    deepLinking: true,
    docExpansion: "list",
    filter: true,
    displayRequestDuration: true,
    defaultModelsExpandDepth: 0,
    validatorUrl: null,
    onComplete: () => {
      if (token) ui.preauthorizeApiKey(scheme, token);
    },
  });
}

ask.addEventListener("submit", async (event) => {
  event.preventDefault();
  said.textContent = await load(document.getElementById("token").value.trim());
});

load("").then((text) => {
  said.textContent = text;
});

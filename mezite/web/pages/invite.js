// SPDX-License-Identifier: Apache-2.0
"use strict";

const form = document.getElementById("invite");
const message = document.getElementById("message");
const token = location.hash.slice(1);
// The secret leaves the address bar and the history before anything else happens.
history.replaceState(null, "", location.pathname);

function say(text, failed) {
  message.textContent = text;
  message.className = failed ? "failed" : "done";
}

if (!token) {
  form.hidden = true;
  say("This link has no invite in it. Open the whole link that you were given.", true);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const password = document.getElementById("password").value;
  if (password !== document.getElementById("again").value) {
    say("The two passwords differ.", true);
    return;
  }
  form.querySelector("button").disabled = true;
  try {
    const response = await fetch("/v1/webapi/invites/accept", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ token, password }),
    });
    const answer = await response.json();
    if (!response.ok) {
      throw new Error(answer.error.message);
    }
    form.hidden = true;
    say(`Done. Log in as ${answer.user}: msh login --proxy=${location.host} --user=${answer.user}`, false);
  } catch (error) {
    form.querySelector("button").disabled = false;
    say(error.message, true);
  }
});

// SPDX-License-Identifier: Apache-2.0
import { render } from "preact";
import { App } from "./app";
import { takeFragment } from "./fragment";
import "./style.css";

// Secrets leave the address bar and the history before anything else happens.
takeFragment();

const root = document.getElementById("app");
if (root) render(<App />, root);

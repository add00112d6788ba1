// SPDX-License-Identifier: Apache-2.0
// An OpenID provider that signs in whoever it is told to, without asking. Reads its configuration as one line of JSON
// from standard input, prints its issuer, and ends when standard input does.
import { generateKeyPairSync } from "node:crypto";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import Provider from "oidc-provider";

const ALGORITHMS = { RS256: ["rsa", { modulusLength: 2048 }], ES256: ["ec", { namedCurve: "P-256" }], EdDSA: ["ed25519", {}] };
const keys = Object.entries(ALGORITHMS).map(([name, [kind, options]]) => ({
  ...generateKeyPairSync(kind, options).privateKey.export({ format: "jwk" }),
  kid: name,
  use: "sig",
}));

const input = createInterface({ input: process.stdin });
input.on("close", () => process.exit(0));
const config = JSON.parse((await input[Symbol.asyncIterator]().next()).value);
let person = config.person;

const server = createServer();
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  clients: config.clients,
  jwks: { keys },
  conformIdTokenClaims: config.claims_at_userinfo,
  claims: { openid: ["sub"], profile: ["preferred_username"], email: ["email", "email_verified"], groups: ["groups"] },
  enabledJWA: { idTokenSigningAlgValues: ["RS256", "PS256", "ES256", "EdDSA", "HS256"] },
  features: { devInteractions: { enabled: false } },
  pkce: { required: () => true },
  cookies: { keys: ["test"] },
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  findAccount: (_, sub) => ({ accountId: sub, claims: () => ({ ...config.people[sub], sub }) }),
  // Everybody consents to everything.
  async loadExistingGrant(ctx) {
    const { client, session, provider: self } = ctx.oidc;
    const grant = new self.Grant({ clientId: client.clientId, accountId: session.accountId });
    grant.addOIDCScope("openid profile email groups");
    await grant.save();
    return grant;
  },
});

const answer = provider.callback();
server.on("request", async (request, response) => {
  const path = new URL(request.url, issuer).pathname;
  if (path.startsWith("/test/person/")) {
    person = path.slice("/test/person/".length);
    response.end("ok");
  } else if (path.startsWith("/interaction/")) {
    const result = person ? { login: { accountId: person } } : { error: "access_denied", error_description: "nobody is here" };
    await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
  } else {
    answer(request, response);
  }
});
console.log(issuer);

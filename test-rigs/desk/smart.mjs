// A FHIR server with SMART Backend Services for the walk: loopback, in memory, as strict about signatures as it must be.
import { createPublicKey, verify } from "node:crypto";
import { createServer } from "node:http";

const read = (request) =>
  new Promise((resolve) => {
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", () => resolve(Buffer.concat(parts).toString("utf8")));
  });
const part = (text) => JSON.parse(Buffer.from(text, "base64url").toString());

export class Smart {
  /** Public keys by client id, as registered. */
  clients = new Map();
  resources = new Map();
  tokens = new Set();
  /** Key ids that signed, in order. */
  signed = [];
  bundles = 0;

  static async start() {
    const smart = new Smart();
    smart.server = createServer((request, response) =>
      smart.answer(request, response).catch((fault) => {
        response.writeHead(500).end(String(fault));
      }),
    );
    await new Promise((up) => smart.server.listen(0, "127.0.0.1", up));
    smart.base = `http://127.0.0.1:${smart.server.address().port}/fhir`;
    return smart;
  }

  close() {
    this.server.closeAllConnections();
    this.server.close();
  }

  register(client, jwks) {
    this.clients.set(client, jwks.keys);
  }

  say(response, status, body) {
    response.writeHead(status, { "content-type": "application/fhir+json" });
    response.end(body === undefined ? "" : JSON.stringify(body));
  }

  outcome(response, status, text) {
    const issue = [
      { severity: "error", code: "processing", diagnostics: text },
    ];
    this.say(response, status, { resourceType: "OperationOutcome", issue });
  }

  async answer(request, response) {
    const url = new URL(request.url, "http://127.0.0.1");
    const body = await read(request);
    if (url.pathname === "/token") return this.token(response, body);
    const path = url.pathname.replace(/^\/fhir\/?/, "");
    if (path === ".well-known/smart-configuration")
      return this.say(response, 200, {
        token_endpoint: this.base.replace("/fhir", "/token"),
        token_endpoint_auth_methods_supported: ["private_key_jwt"],
        token_endpoint_auth_signing_alg_values_supported: ["ES384", "RS384"],
        capabilities: ["client-confidential-asymmetric", "permission-v2"],
      });
    if (path === "metadata") return this.say(response, 200, CAPABILITY);
    const token = request.headers.authorization?.replace(/^Bearer /, "");
    if (!this.tokens.has(token))
      return this.outcome(response, 401, "no token of ours");
    return this.fhir(request.method, path, url, body, response);
  }

  token(response, body) {
    const form = new URLSearchParams(body);
    const [head, claims, signature] = form.get("client_assertion").split(".");
    const { kid } = part(head);
    const { iss } = part(claims);
    const key = this.clients.get(iss)?.find((known) => known.kid === kid);
    const good =
      key &&
      verify(
        "sha384",
        Buffer.from(`${head}.${claims}`),
        {
          key: createPublicKey({ key, format: "jwk" }),
          dsaEncoding: "ieee-p1363",
        },
        Buffer.from(signature, "base64url"),
      );
    if (!good) return this.say(response, 401, { error: "invalid_client" });
    this.signed.push(kid);
    const token = `t${this.signed.length}`;
    this.tokens.add(token);
    this.say(response, 200, {
      access_token: token,
      token_type: "bearer",
      expires_in: 300,
      scope: form.get("scope"),
    });
  }

  /** Tokens are good no more: the next request asks for one. */
  forget() {
    this.tokens.clear();
  }

  fhir(method, path, url, body, response) {
    if (method === "POST" && path === "") {
      this.bundles += 1;
      const entry = JSON.parse(body).entry.map(({ request, resource }) => {
        const fresh = !this.resources.has(request.url);
        this.resources.set(request.url, resource);
        const status = fresh ? "201 Created" : "200 OK";
        return {
          response: { status, location: `${request.url}/_history/1` },
        };
      });
      const type = "transaction-response";
      return this.say(response, 200, { resourceType: "Bundle", type, entry });
    }
    if (method === "POST" && path.endsWith("/$validate"))
      return this.say(response, 200, {
        resourceType: "OperationOutcome",
        issue: [{ severity: "information", code: "informational" }],
      });
    if (path.endsWith("/_search") || (method === "GET" && url.search))
      return this.say(response, 200, {
        resourceType: "Bundle",
        type: "searchset",
        total: 0,
        entry: [],
      });
    if (method === "PUT") {
      this.resources.set(path, JSON.parse(body));
      return this.say(response, 201, JSON.parse(body));
    }
    const known = this.resources.get(path);
    if (method === "GET" && known) {
      const meta = { versionId: "1", lastUpdated: "2026-01-01T00:00:00Z" };
      return this.say(response, 200, {
        ...known,
        meta: { ...known.meta, ...meta },
      });
    }
    return this.outcome(response, 404, "nothing of that name");
  }

  count(kind) {
    return [...this.resources.keys()].filter((key) =>
      key.startsWith(`${kind}/`),
    ).length;
  }
}

const KINDS = [
  "Observation",
  "Patient",
  "Device",
  "DeviceMetric",
  "Specimen",
  "Provenance",
];
const CAPABILITY = {
  resourceType: "CapabilityStatement",
  status: "active",
  fhirVersion: "4.0.1",
  software: { name: "Walk FHIR", version: "1" },
  rest: [
    {
      mode: "server",
      interaction: [{ code: "transaction" }],
      resource: KINDS.map((type) => ({
        type,
        interaction: ["create", "update", "read", "search-type"].map(
          (code) => ({ code }),
        ),
        updateCreate: true,
        conditionalCreate: true,
      })),
    },
  ],
};

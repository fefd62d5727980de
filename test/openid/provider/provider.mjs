// A real OpenID provider for the tests, on loopback: node provider.mjs PORT ISSUER STATE.
// STATE is a JSON file with "keys", which sign; it is read again for SIGHUP, as by a
// provider that rotates its keys. It gives tokens for a person without asking anybody
// (grant_type "test"), which no real one does.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import Provider from 'oidc-provider';

const [port, issuer, state] = process.argv.slice(2);

const people = {
  1001: { email: 'anna@example.org', email_verified: true, name: 'Anna Ä.' },
  1002: { email: 'bert@example.org', email_verified: true },
  1003: { email: 'carl@example.org', email_verified: false },
  1004: { email: 'dora@example.com', email_verified: true },
};

// A resource whose name ends in "jwt" gets JWTs, others get opaque tokens.
const server = (resource) => ({
  scope: 'mail',
  audience: resource,
  accessTokenFormat: resource.endsWith('jwt') ? 'jwt' : 'opaque',
  jwt: { sign: { alg: 'RS256' } },
});

function make() {
  const { keys } = JSON.parse(readFileSync(state));
  const provider = new Provider(issuer, {
    jwks: { keys },
    cookies: { keys: ['of the tests'] },
    scopes: ['openid', 'mail'],
    clients: [
      { client_id: 'thunderbird', client_secret: 'thunder', grant_types: ['test', 'client_credentials'], redirect_uris: [], response_types: [] },
      { client_id: 'postern', client_secret: 'p/st:rn +', grant_types: [], redirect_uris: [], response_types: [] },
    ],
    ttl: { AccessToken: (ctx) => Number(ctx.oidc.params.ttl ?? 300), ClientCredentials: 300, Grant: 3600 },
    // "email" is what somebody calls themselves, where a provider lets them.
    extraTokenClaims: (ctx, token) => ({ ...people[token.accountId], ...(ctx.oidc.params.email && { email: ctx.oidc.params.email }) }),
    findAccount: (ctx, id) => people[id] && { accountId: id, claims: () => ({ sub: id }) },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      dPoP: { enabled: true },
      mTLS: { enabled: true, certificateBoundAccessTokens: true },
      introspection: { enabled: true, allowedPolicy: (ctx, client) => client.clientId === 'postern' },
      resourceIndicators: { enabled: true, getResourceServerInfo: (ctx, resource) => server(resource) },
      revocation: { enabled: true },
    },
  });
  provider.registerGrantType('test', async (ctx) => {
    const { client, params } = ctx.oidc;
    const { AccessToken, Grant, ResourceServer } = provider;
    const grant = new Grant({ accountId: params.person, clientId: client.clientId });
    const token = new AccessToken({
      accountId: params.person, client, gty: 'test', scope: params.scope, grantId: await grant.save(),
    });
    token.resourceServer = new ResourceServer(params.resource, server(params.resource));
    if (params.certificate) token['x5t#S256'] = params.certificate; // its thumbprint (RFC 8705)
    if (params.bound) token.jkt = params.bound; // to a key, as DPoP does
    ctx.body = { access_token: await token.save(), token_type: token.tokenType, expires_in: token.expiration };
  }, ['person', 'resource', 'scope', 'ttl', 'bound', 'certificate', 'email']);
  provider.on('server_error', (ctx, err) => console.log(err));
  return provider.callback();
}

let answer = make();
process.on('SIGHUP', () => { answer = make(); console.log('rotated'); });
createServer((q, a) => answer(q, a)).listen(Number(port), '127.0.0.1', () => console.log('listening'));

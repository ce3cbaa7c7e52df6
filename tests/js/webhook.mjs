// Sign webhooks as LiveKit's own library does, and say of each case what that library's receiver makes of it.
// In: {key, secret, cases: [{body, signed, sent}]}, where `signed` is the body that the signature is for.
// Out: [{authorization, accepted}].
import { createHash } from "node:crypto";
import { text } from "node:stream/consumers";
import { AccessToken, WebhookReceiver } from "livekit-server-sdk";

const { key, secret, cases } = JSON.parse(await text(process.stdin));
const receiver = new WebhookReceiver(key, secret);

const results = [];
for (const one of cases) {
  const token = new AccessToken(one.key ?? key, one.secret ?? secret, { ttl: one.ttl ?? "5m" });
  token.sha256 = createHash("sha256").update(one.signed).digest("base64");
  const authorization = await token.toJwt();
  let accepted = true;
  try {
    await receiver.receive(one.sent, authorization);
  } catch {
    accepted = false;
  }
  results.push({ authorization, accepted });
}
console.log(JSON.stringify(results));

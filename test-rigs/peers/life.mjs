// What both peers share: settings from the command line, a line that says they are ready, an end with their parent.

/** The settings, one JSON object as the only argument. */
export const settings = JSON.parse(process.argv[2] ?? '{}');

/** Listens on loopback, says where, and ends when the parent closes our standard input. */
export function live(server, port, about) {
  server.listen(port, '127.0.0.1', () => {
    console.log(JSON.stringify({ ready: true, port: server.address().port, ...about }));
  });
  process.stdin.resume();
  process.stdin.on('end', () => process.exit(0));
}

/** The whole body of a request. */
export async function bodyOf(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks);
}

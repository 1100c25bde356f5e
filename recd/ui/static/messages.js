// Binary messages: a JSON head, then numbers or a picture. See recd/ui/messages.py.

const decoder = new TextDecoder();

/** `{head, x, ys}` of a plot, `{head, bytes}` of a picture. */
export function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const head = JSON.parse(decoder.decode(new Uint8Array(buffer, 4, length)));
  const at = 4 + length;
  if (head.kind !== "plot") return { head, bytes: new Uint8Array(buffer, at) };
  const values = new Float64Array(buffer, at);
  const ys = [];
  for (let i = 1; i <= head.lines; i += 1) ys.push(values.subarray(i * head.rows, (i + 1) * head.rows));
  return { head, x: values.subarray(0, head.rows), ys };
}

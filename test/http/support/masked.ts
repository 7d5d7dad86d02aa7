/** Values with a key of an object's prototype: none of them is a string to JavaScript, or can be asked for one. */
export const masked = ["toString", "valueOf", "toJSON", "__proto__", "constructor", "hasOwnProperty", "then", "length"]
  .flatMap((key) => ["0", "null", "{}", "[1]"].map((value) => `{"${key}":${value}}`))
  .flatMap((text) => [text, `[${text}]`, `{"a":${text}}`])

// Every runtime that Effect runs on has it; the types of the language alone do not know.
const { crypto: webCrypto } = globalThis as unknown as { readonly crypto: { readonly randomUUID: () => string } }

export const randomUuid = (): string => webCrypto.randomUUID()

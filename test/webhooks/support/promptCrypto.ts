/**
 * WebCrypto that answers in the turn that asks. The platform's answers from threads, at a time that a test on a virtual clock cannot
 * wait for. Only what signatures and endpoints use is there.
 */
import { createCipheriv, createDecipheriv, createHmac, webcrypto } from "node:crypto"

interface Params {
  readonly iv: Uint8Array
  readonly additionalData: Uint8Array
}

const tagLength = 16

const subtle = {
  digest: webcrypto.subtle.digest.bind(webcrypto.subtle),
  importKey: (_: "raw", key: Uint8Array) => Promise.resolve(Uint8Array.from(key)),
  sign: (_: "HMAC", key: Uint8Array, data: Uint8Array) =>
    Promise.resolve(Uint8Array.from(createHmac("sha256", key).update(data).digest()).buffer),
  encrypt: ({ additionalData, iv }: Params, key: Uint8Array, data: Uint8Array) => {
    const cipher = createCipheriv("aes-256-gcm", key, iv).setAAD(additionalData)
    const parts = [cipher.update(data), cipher.final()]
    return Promise.resolve(Uint8Array.from(Buffer.concat([...parts, cipher.getAuthTag()])).buffer)
  },
  decrypt: async ({ additionalData, iv }: Params, key: Uint8Array, data: Uint8Array) => {
    const at = data.length - tagLength
    const decipher = createDecipheriv("aes-256-gcm", key, iv).setAAD(additionalData).setAuthTag(data.subarray(at))
    const plain = decipher.update(data.subarray(0, at))
    try {
      return Uint8Array.from(Buffer.concat([plain, decipher.final()])).buffer
    } catch {
      // As the platform's says so.
      throw new DOMException("the tag does not match", "OperationError")
    }
  }
}

// The functions above are those in use.
export const promptCrypto = {
  subtle,
  getRandomValues: webcrypto.getRandomValues.bind(webcrypto)
} as unknown as typeof globalThis.crypto

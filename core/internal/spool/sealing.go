package spool

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
)

// A sealed file begins with its data key, twice: AES-256-GCM under the master key, behind a fingerprint of that one. Each
// other frame's payload is nonce, ciphertext and tag; what it may stand for is bound to it as additional data, so that no
// frame can be put into the place of another.
const (
	keySize         = 32
	fingerprintSize = 8
	nonceSize       = 12
	tagSize         = 16
	sealedExtra     = nonceSize + tagSize // bytes that sealing adds to a payload
)

// ErrKey says that a sealed file is there and the master key is missing, or another one. Nothing was changed.
var ErrKey = errors.New("the spool is sealed, and this is not its key")

// sealer seals the payloads of one file that is being written. It belongs to the writer of the file.
type sealer struct {
	aead    cipher.AEAD
	salt    uint32
	counter uint64 // of the nonces; the data key is used by this process for this file alone
}

// newSealer makes a data key, and the frame that holds it.
func newSealer(master []byte, salt uint32) (*sealer, []byte, error) {
	var key [keySize]byte
	if _, err := rand.Read(key[:]); err != nil {
		return nil, nil, err
	}
	aead, err := newAEAD(key[:])
	if err != nil {
		return nil, nil, err
	}
	outer, err := newAEAD(master)
	if err != nil {
		return nil, nil, err
	}
	var nonce [nonceSize]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return nil, nil, err
	}
	payload := slices.Concat(fingerprint(master), nonce[:])
	payload = outer.Seal(payload, nonce[:], key[:], binary.LittleEndian.AppendUint32(nil, salt))
	h := header{kind: kindKey}
	return &sealer{aead: aead, salt: salt}, appendFrame(appendFrame(nil, h, payload), h, payload), nil
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("use key of %d bytes: %w", len(key), err)
	}
	return cipher.NewGCM(block)
}

// fingerprint tells master keys apart without telling them.
func fingerprint(master []byte) []byte {
	sum := sha256.Sum256(append([]byte("hostd spool key "), master...))
	return sum[:fingerprintSize]
}

// openKey reads the data key of a file out of its key frame.
func openKey(master []byte, salt uint32, payload []byte) (cipher.AEAD, error) {
	if len(master) == 0 || len(payload) != fingerprintSize+nonceSize+keySize+tagSize ||
		!slices.Equal(payload[:fingerprintSize], fingerprint(master)) {
		return nil, ErrKey
	}
	outer, err := newAEAD(master)
	if err != nil {
		return nil, err
	}
	nonce, sealed := payload[fingerprintSize:fingerprintSize+nonceSize], payload[fingerprintSize+nonceSize:]
	key, err := outer.Open(nil, nonce, sealed, binary.LittleEndian.AppendUint32(nil, salt))
	if err != nil {
		return nil, ErrKey
	}
	return newAEAD(key)
}

// bound is what a sealed payload is bound to: the file, and the fields of its header.
func bound(dst []byte, salt uint32, h *header) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, salt)
	dst = append(dst, byte(h.kind), h.flags)
	dst = binary.LittleEndian.AppendUint32(dst, h.num)
	for _, v := range [...]uint64{h.seq, h.a, h.b} {
		dst = binary.LittleEndian.AppendUint64(dst, v)
	}
	return dst
}

// all appends to dst the frames of plain with their payloads sealed, without header checksums.
func (s *sealer) all(dst, plain []byte) []byte {
	dst = slices.Grow(dst, len(plain)+len(plain)/headerSize*4)
	aad := make([]byte, 0, 64) // once for all frames: it escapes
	for at := 0; at < len(plain); {
		h := loadHeader(plain[at:])
		end := at + headerSize + int(h.length)
		payload := plain[at+headerSize : end]
		at = end
		if len(payload) == 0 {
			dst = append(dst, plain[end-headerSize:end]...)
			continue
		}
		h.flags |= flagSealed
		start := len(dst)
		dst = append(dst, plain[end-headerSize-len(payload):end-len(payload)]...)
		s.counter++
		dst = binary.LittleEndian.AppendUint64(append(dst, 0, 0, 0, 0), s.counter)
		nonce := dst[len(dst)-nonceSize:]
		aad = bound(aad[:0], s.salt, &h)
		dst = s.aead.Seal(dst, nonce, payload, aad)
		sealed := dst[start+headerSize:]
		dst[start+5] = h.flags
		binary.LittleEndian.PutUint32(dst[start+8:], uint32(len(sealed)))
		binary.LittleEndian.PutUint32(dst[start+40:], crc32.Checksum(sealed, castagnoli))
	}
	return dst
}

// unseal appends the plain payload of a sealed frame to dst; false means that it is not what was sealed.
func unseal(aead cipher.AEAD, dst []byte, salt uint32, h *header, sealed []byte) ([]byte, bool) {
	if aead == nil || len(sealed) < sealedExtra {
		return dst, false
	}
	var aad [64]byte
	plain, err := aead.Open(dst, sealed[:nonceSize], sealed[nonceSize:], bound(aad[:0], salt, h))
	return plain, err == nil
}

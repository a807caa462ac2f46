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
	"sync"
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

// sealer seals the payloads of one file that is being written.
type sealer struct {
	aead cipher.AEAD
	salt uint32

	mu      sync.Mutex
	counter uint64 // guarded by mu: of the nonces; the data key is used by this process for this file alone
	bound   []byte // guarded by mu: memory for the additional data
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

// appendRoomy appends a frame with room for sealing: the payload stands where its ciphertext will. An empty payload needs none.
func appendRoomy(dst []byte, h header, payload []byte) []byte {
	if len(payload) == 0 {
		return appendFrame(dst, h, nil)
	}
	var room [tagSize]byte
	h.flags |= flagSealed
	h.length = uint32(len(payload) + sealedExtra)
	dst = append(append(appendHeader(dst, h), room[:nonceSize]...), payload...)
	return append(dst, room[:]...)
}

// all appends to dst the frames of plain with their payloads sealed, without header checksums.
func (s *sealer) all(dst, plain []byte) []byte {
	start := len(dst)
	for at := 0; at < len(plain); {
		h := loadHeader(plain[at:])
		from := at + headerSize
		at = from + int(h.length)
		dst = appendRoomy(dst, h, plain[from:at])
	}
	s.inPlace(dst[start:])
	return dst
}

// inPlace seals the payloads of roomy frames where they stand.
func (s *sealer) inPlace(buf []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.each(buf, func(h header, frame []byte) {
		sealed := frame[headerSize:]
		s.counter++
		binary.LittleEndian.PutUint32(sealed, 0)
		binary.LittleEndian.PutUint64(sealed[4:], s.counter)
		plain := sealed[nonceSize : len(sealed)-tagSize]
		s.bound = bound(s.bound[:0], s.salt, &h)
		s.aead.Seal(plain[:0], sealed[:nonceSize], plain, s.bound)
		binary.LittleEndian.PutUint32(frame[40:], crc32.Checksum(sealed, castagnoli))
	})
}

// undo makes what inPlace has sealed plain again.
func (s *sealer) undo(buf []byte) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.each(buf, func(h header, frame []byte) {
		sealed := frame[headerSize:]
		s.bound = bound(s.bound[:0], s.salt, &h)
		if _, bad := s.aead.Open(sealed[nonceSize:nonceSize], sealed[:nonceSize], sealed[nonceSize:], s.bound); bad != nil {
			err = bad
		}
	})
	return err
}

func (*sealer) each(buf []byte, do func(h header, frame []byte)) {
	for at := 0; at < len(buf); {
		h := loadHeader(buf[at:])
		end := at + headerSize + int(h.length)
		if h.flags&flagSealed != 0 {
			do(h, buf[at:end])
		}
		at = end
	}
}

// unseal appends the plain payload of a sealed frame to dst; false means that it is not what was sealed.
func (c *scanner) unseal(dst []byte, f *frame) ([]byte, bool) {
	if c.aead == nil || len(f.payload) < sealedExtra {
		return dst, false
	}
	c.bound = bound(c.bound[:0], c.salt, &f.header)
	dst = slices.Grow(dst, len(f.payload)-sealedExtra) // Open itself grows it to the byte, and copies the whole each time
	plain, err := c.aead.Open(dst, f.payload[:nonceSize], f.payload[nonceSize:], c.bound)
	if err != nil {
		return dst, false
	}
	return plain, true
}

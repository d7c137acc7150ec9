package pushapi

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// A hash takes some hundredths of a second and 19 MiB, which is what argon2id
// is recommended with at least.
const (
	argonKind    = "argon2id"
	argonPasses  = 2
	argonKiB     = 19 << 10
	argonThreads = 1
	argonSalt    = 16
	argonSum     = 32
	// Bounds of hashes from elsewhere, so that a configuration cannot make
	// every request expensive.
	maxArgonPasses = 16
	maxArgonKiB    = 256 << 10
	maxBcryptCost  = 14
	maxPassword    = 1024
)

// HashPassword returns a hash of a password for a [Credential].
func HashPassword(password string) (string, error) {
	if password == "" || len(password) > maxPassword {
		return "", fmt.Errorf("a password has 1 to %d bytes, not %d", maxPassword, len(password))
	}
	h := argonHash{passes: argonPasses, kib: argonKiB, threads: argonThreads, salt: make([]byte, argonSalt)}
	_, _ = rand.Read(h.salt) // never fails
	h.sum = h.of(password, argonSum)
	encode := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$%s$v=%d$m=%d,t=%d,p=%d$%s$%s", argonKind, argon2.Version, h.kib, h.passes, h.threads, encode(h.salt), encode(h.sum)), nil
}

// passwordHash is a [Credential]'s hash, read.
type passwordHash interface {
	matches(password string) bool
}

// parseHash reads a hash of argon2id or of bcrypt, in their usual text forms.
func parseHash(text string) (passwordHash, error) {
	if cost, err := bcrypt.Cost([]byte(text)); err == nil {
		if cost > maxBcryptCost {
			return nil, fmt.Errorf("its cost is %d, above %d", cost, maxBcryptCost)
		}
		return bcryptHash(text), nil
	}
	if !strings.HasPrefix(text, "$"+argonKind+"$") {
		return nil, errors.New("it is neither of argon2id nor of bcrypt; gapless hash-password makes one")
	}
	return parseArgon(text)
}

// bcryptHash ignores all of a password behind its 72nd byte, as bcrypt does.
type bcryptHash string

func (h bcryptHash) matches(password string) bool {
	p := []byte(password)
	return bcrypt.CompareHashAndPassword([]byte(h), p[:min(len(p), 72)]) == nil
}

type argonHash struct {
	passes, kib uint32
	threads     uint8
	salt, sum   []byte
}

func (h *argonHash) of(password string, size int) []byte {
	return argon2.IDKey([]byte(password), h.salt, h.passes, h.kib, h.threads, uint32(size))
}

func (h *argonHash) matches(password string) bool {
	return subtle.ConstantTimeCompare(h.of(password, len(h.sum)), h.sum) == 1
}

func parseArgon(text string) (*argonHash, error) {
	fields := strings.Split(text, "$")
	if len(fields) != 6 {
		return nil, errors.New("it is not of the form $argon2id$v=19$m=KIB,t=PASSES,p=THREADS$SALT$HASH")
	}
	h, version := &argonHash{}, 0
	if _, err := fmt.Sscanf(fields[2], "v=%d", &version); err != nil || version != argon2.Version {
		return nil, fmt.Errorf("it has %s, not v=%d", clip(fields[2]), argon2.Version)
	}
	if _, err := fmt.Sscanf(fields[3], "m=%d,t=%d,p=%d", &h.kib, &h.passes, &h.threads); err != nil {
		return nil, fmt.Errorf("it has %s, not m=KIB,t=PASSES,p=THREADS", clip(fields[3]))
	}
	if h.kib < 8 || h.kib > maxArgonKiB || h.passes < 1 || h.passes > maxArgonPasses || h.threads < 1 {
		return nil, fmt.Errorf("%s is out of bounds: m up to %d, t up to %d", clip(fields[3]), maxArgonKiB, maxArgonPasses)
	}
	var saltErr, sumErr error
	h.salt, saltErr = base64.RawStdEncoding.DecodeString(fields[4])
	h.sum, sumErr = base64.RawStdEncoding.DecodeString(fields[5])
	if saltErr != nil || sumErr != nil || len(h.salt) < 8 || len(h.sum) < 16 || len(h.sum) > 64 {
		return nil, errors.New("its salt or hash is not base64 without padding of at least 8 and of 16 to 64 bytes")
	}
	return h, nil
}

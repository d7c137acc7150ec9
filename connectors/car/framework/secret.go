package framework

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// SecretsDir is where pods have their encrypted secrets: a file for each,
// named like the environment variable that it takes the place of and holding a
// JWE token, beside the JWK that decrypts them in .jwk/key.jwk.
const SecretsDir = "/etc/secrets"

// readSecrets decrypts every secret of a folder, by name. A folder that is not
// there holds none.
func readSecrets(dir string) (map[string]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list secrets: %w", err)
	}
	var names []string
	for _, e := range entries {
		info, err := os.Stat(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("look at secret: %w", err)
		}
		if info.Mode().IsRegular() && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	key, err := readKey(filepath.Join(dir, ".jwk", "key.jwk"))
	if err != nil {
		return nil, err
	}
	secrets := make(map[string]string, len(names))
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("read secret %s: %w", name, err)
		}
		if secrets[name], err = decrypt(string(text), key); err != nil {
			return nil, fmt.Errorf("secret %s: %w", name, err)
		}
	}
	return secrets, nil
}

func readKey(path string) (*jose.JSONWebKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the key of the secrets: %w", err)
	}
	var key jose.JSONWebKey
	if err := key.UnmarshalJSON(text); err != nil {
		return nil, errors.New("the key of the secrets is no JWK") // the error may repeat the key
	}
	if !key.Valid() || key.IsPublic() {
		return nil, errors.New("the key of the secrets cannot decrypt: it is not a complete private or symmetric JWK")
	}
	return &key, nil
}

// decrypt returns the text of a JWE token. Algorithms that are known to be
// weak, or that derive the key from a password, are not taken.
func decrypt(token string, key *jose.JSONWebKey) (string, error) {
	keys := []jose.KeyAlgorithm{
		jose.RSA_OAEP, jose.RSA_OAEP_256, jose.A128KW, jose.A192KW, jose.A256KW, jose.DIRECT, jose.ECDH_ES, jose.ECDH_ES_A128KW,
		jose.ECDH_ES_A192KW, jose.ECDH_ES_A256KW, jose.A128GCMKW, jose.A192GCMKW, jose.A256GCMKW,
	}
	contents := []jose.ContentEncryption{jose.A128CBC_HS256, jose.A192CBC_HS384, jose.A256CBC_HS512, jose.A128GCM, jose.A192GCM, jose.A256GCM}
	parse := jose.ParseEncryptedCompact
	if token = strings.TrimSpace(token); strings.HasPrefix(token, "{") {
		parse = jose.ParseEncryptedJSON
	}
	jwe, err := parse(token, keys, contents)
	if err != nil {
		return "", fmt.Errorf("it is no JWE token of a usable algorithm: %w", err)
	}
	text, err := jwe.Decrypt(key)
	if err != nil {
		return "", fmt.Errorf("the key does not decrypt it: %w", err)
	}
	return string(text), nil
}

package framework

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/gapless-sync/gapless"
)

func environment(t *testing.T, variables map[string]string) Environment {
	t.Helper()
	return Environment{Getenv: func(name string) string { return variables[name] }, SecretsDir: filepath.Join(t.TempDir(), "none"), Dir: t.TempDir()}
}

func TestValidationInOrder(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		args string
		want string
	}{
		{"nothing", "", "-car-service-token is needed, or -car-service-key and -car-service-password"},
		{"key alone", "-car-service-key k", "-car-service-token is needed, or"},
		{"no URL", "-car-service-key k -car-service-password p", "-car-service-url or -car-service-url-for-token is needed"},
		{"token alone", "-car-service-token t", "-car-service-url or -car-service-url-for-token is needed"},
		{"URL with a token", "-car-service-token t -car-service-url u", "-car-service-url needs -car-service-key and -car-service-password"},
		{"URL for a token with a key", "-car-service-key k -car-service-password p -car-service-url-for-token u", "-car-service-url-for-token needs -car-service-token"},
		{"token and all of the rest but its URL", "-car-service-token t -car-service-url u -car-service-key k -car-service-password p", "-car-service-token needs -car-service-url-for-token"},
		{"no source", "-car-service-url u -car-service-key k -car-service-password p", "-source is needed"},
		{"page size", "-export-data-page-size many", "is not a number of rows"},
		{"page size of none", "-export-data-page-size 0", "is not a number of rows"},
		{"no value", "-source", "-source needs a value"},
		{"unknown", "-car-service-uri=secret", "there is no option -car-service-uri: did you mean car-service-url?"},
		{"no flag", "secret", "an argument stands where a flag is expected"},
		{"own option is required", "-car-service-url http://h/api/car/v2 -car-service-key k -car-service-password p -source s", "-server (or CONNECTION_HOST) is required"},
		{"bad URL", "-car-service-url nowhere -car-service-key k -car-service-password p -source s -server x", "url"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var host string
			app := App{Name: "demo", Options: []Option{{Flag: "server", Env: "CONNECTION_HOST", Required: true, Value: &host}}}
			var out bytes.Buffer
			if exit := app.Run(t.Context(), strings.Fields(tt.args), environment(t, nil), &out); exit != gapless.ExitUsage {
				t.Errorf("exit code %d", exit)
			}
			lines := strings.Split(strings.TrimSpace(out.String()), "\n")
			if last := lines[len(lines)-1]; !strings.HasPrefix(last, "demo: ") || !strings.Contains(last, tt.want) || !strings.HasPrefix(lines[0], "usage: demo") {
				t.Errorf("got %q, want %q", last, tt.want)
			}
			if strings.Contains(out.String(), "secret") && tt.name != "own option is required" {
				t.Errorf("an argument that may be a secret is repeated: %s", out.String())
			}
		})
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if exit := (App{Name: "demo"}).Run(t.Context(), []string{"--help"}, environment(t, nil), &out); exit != gapless.ExitComplete {
		t.Errorf("exit code %d", exit)
	}
	var own texts
	for _, o := range own.options() {
		if !strings.Contains(out.String(), "-"+o.Flag) || !strings.Contains(out.String(), o.Env) {
			t.Errorf("-%s is not described", o.Flag)
		}
	}
}

const serviceURL = "http://127.0.0.1:1/api/car/v2"

func TestPrecedenceOfOptions(t *testing.T) {
	t.Parallel()
	base := map[string]string{
		"CAR_SERVICE_URL": serviceURL, "CAR_SERVICE_KEY": "env-key", "CAR_SERVICE_PASSWORD": "env-password", "CONNECTION_NAME": "env-source",
		"CONNECTOR_NAME": "env-name", "CONNECTION_HOST": "env-host", "DEBUG": "false", "DATASOURCE_CONNECTION_TEST": "yes",
	}
	for _, tt := range []struct {
		name    string
		args    []string
		secrets map[string]string
		want    settings
		host    string
	}{
		{"environment", nil, nil, settings{key: "env-key", password: "env-password", source: "env-source", name: "env-name", test: true}, "env-host"},
		{
			"command line, in every form",
			[]string{"--car-service-key=cli=key", "-source", "cli source", "-d", "-name=", "-server=cli-host", "-connection-test", "false"}, nil,
			settings{key: "cli=key", password: "env-password", source: "cli source", name: "env-name", debug: true}, "cli-host",
		},
		{
			"secrets", []string{"-car-service-password", "cli-password", "-server", "cli-host", "-d=no", "-keep-export-data-dir", "-full"},
			map[string]string{"CAR_SERVICE_PASSWORD": "secret \"password\"", "CONNECTION_HOST": "secret-host", "NOBODY_ASKS": "for this"},
			settings{key: "env-key", password: "secret \"password\"", source: "env-source", name: "env-name", test: true, keep: true, full: true}, "secret-host",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var host string
			app := &App{Name: "demo", Version: "1.2", Options: []Option{{Flag: "server", Env: "CONNECTION_HOST", Value: &host}}}
			env := environment(t, base)
			if tt.secrets != nil {
				env.SecretsDir = secretsDir(t, tt.secrets)
			}
			got, err := readOptions(app, tt.args, env)
			if err != nil {
				t.Fatal(err)
			}
			want := tt.want
			want.url, want.version, want.pageRows = serviceURL, "1.2", 2000
			want.exportDir, want.stateDir = DefaultExportDir, filepath.Join(DefaultExportDir, "state")
			hidden := got.secrets
			got.secrets = nil
			if diff := cmp.Diff(want, *got, cmp.AllowUnexported(settings{}), cmp.FilterPath(func(p cmp.Path) bool { return p.String() == "now" }, cmp.Ignore())); diff != "" {
				t.Errorf("settings differ (-want +got):\n%s", diff)
			}
			if host != tt.host {
				t.Errorf("host is %q", host)
			}
			if !strings.Contains(strings.Join(hidden, " "), want.password) || tt.secrets != nil && !strings.Contains(strings.Join(hidden, " "), "secret-host") {
				t.Errorf("a secret is not hidden: %q", hidden)
			}
		})
	}
}

func TestNameOfThePod(t *testing.T) {
	t.Parallel()
	env := environment(t, map[string]string{
		"CAR_SERVICE_URL_FOR_AUTHTOKEN": serviceURL, "CAR_SERVICE_AUTHTOKEN": "t", "CONNECTION_NAME": "s", "GAPLESS_STATE_DIR": "/state",
	})
	if err := os.MkdirAll(filepath.Join(env.Dir, "configurations"), 0o700); err != nil {
		t.Fatal(err)
	}
	text := `{"connection": {"type": {"displayName": "My data source"}}}`
	if err := os.WriteFile(filepath.Join(env.Dir, "configurations", "config.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := readOptions(&App{Name: "demo"}, nil, env)
	if err != nil {
		t.Fatal(err)
	}
	if s.name != "My data source" || s.stateDir != "/state" {
		t.Errorf("got %q and %q", s.name, s.stateDir)
	}
}

// secretsDir writes secrets as pods have them: folders and links among them.
func secretsDir(t *testing.T, secrets map[string]string) string {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	writeKey(t, dir, jose.JSONWebKey{Key: private})
	encrypter, err := jose.NewEncrypter(jose.A256GCM, jose.Recipient{Algorithm: jose.RSA_OAEP_256, Key: &private.PublicKey}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "..2026"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("..2026", filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	for name, value := range secrets {
		jwe, err := encrypter.Encrypt([]byte(value))
		if err != nil {
			t.Fatal(err)
		}
		token, err := jwe.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "..2026", name), []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func writeKey(t *testing.T, dir string, key jose.JSONWebKey) {
	t.Helper()
	text, err := json.Marshal(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, ".jwk"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".jwk", "key.jwk"), text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestBadSecrets(t *testing.T) {
	t.Parallel()
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		harm func(t *testing.T, dir string)
		want string
	}{
		{"no token", func(t *testing.T, dir string) { overwrite(t, filepath.Join(dir, "A"), "plain text") }, "secret A: it is no JWE token"},
		{"empty", func(t *testing.T, dir string) { overwrite(t, filepath.Join(dir, "A"), "") }, "secret A: it is no JWE token"},
		{"another key", func(t *testing.T, dir string) { writeKey(t, dir, jose.JSONWebKey{Key: other}) }, "secret A: the key does not decrypt it"},
		{"public key", func(t *testing.T, dir string) { writeKey(t, dir, jose.JSONWebKey{Key: &other.PublicKey}) }, "the key of the secrets cannot decrypt"},
		{"no JWK", func(t *testing.T, dir string) { overwrite(t, filepath.Join(dir, ".jwk", "key.jwk"), "{confidential") }, "the key of the secrets is no JWK"},
		{"no key", func(t *testing.T, dir string) {
			if err := os.RemoveAll(filepath.Join(dir, ".jwk")); err != nil {
				t.Fatal(err)
			}
		}, "read the key of the secrets"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			env := environment(t, nil)
			env.SecretsDir = secretsDir(t, map[string]string{"A": "confidential"})
			tt.harm(t, env.SecretsDir)
			var out bytes.Buffer
			exit := App{Name: "demo"}.Run(t.Context(), nil, env, &out)
			if exit != gapless.ExitUsage || !strings.Contains(out.String(), tt.want) || strings.Contains(out.String(), "confidential") {
				t.Errorf("exit code %d: %s", exit, out.String())
			}
		})
	}
}

func overwrite(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func FuzzDecrypt(f *testing.F) {
	key := &jose.JSONWebKey{Key: bytes.Repeat([]byte{1}, 32)}
	encrypter, err := jose.NewEncrypter(jose.A256GCM, jose.Recipient{Algorithm: jose.DIRECT, Key: key.Key}, nil)
	if err != nil {
		f.Fatal(err)
	}
	jwe, err := encrypter.Encrypt([]byte("secret"))
	if err != nil {
		f.Fatal(err)
	}
	token, err := jwe.CompactSerialize()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(token)
	f.Add(jwe.FullSerialize())
	f.Add("a.b.c.d.e")
	f.Add("{}")
	f.Fuzz(func(t *testing.T, token string) {
		text, err := decrypt(token, key)
		if err == nil && text != "secret" {
			t.Errorf("%q was made up", text)
		}
	})
}

// TestGuide asserts that the guide has every option.
func TestGuide(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../../docs/connectors/car-porting.md")
	if err != nil {
		t.Fatal(err)
	}
	var own texts
	for _, o := range own.options() {
		env := "-"
		if o.Env != "" {
			env = "`" + o.Env + "`"
		}
		if row := "| `-" + o.Flag + "` | " + env + " | "; !strings.Contains(string(page), row) {
			t.Errorf("the guide has no row %s", row)
		}
	}
	for _, code := range []string{"0", "1", "2", "7", "10", "20", "50", "51", "52", "53", "54", "55", "130"} {
		if !strings.Contains(string(page), "\n| "+code+" | ") {
			t.Errorf("the guide has no exit code %s", code)
		}
	}
}

package baotest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/openbao/openbao/api/v2"

	"invoicebox-worker/internal/testutil/freeport"
)

const (
	programVariable = "INVOICEBOX_TEST_OPENBAO"
	requireVariable = "INVOICEBOX_TEST_REQUIRE"

	// Mount is where a server has KV version 2.
	Mount = "secret"

	startWithin = 60 * time.Second
)

// A Server is one server.
type Server struct {
	program, folder string
	url             string
	client          *api.Client // as root
	unsealKey       string
	process         *exec.Cmd
	ended           chan struct{}
}

// Start starts a server, unsealed, which ends with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	address := freeport.Address(t)
	s := &Server{program: program(t), folder: t.TempDir(), url: "https://" + address}
	certify(t, s.folder)
	quoted := func(name string) string { return fmt.Sprintf("%q", filepath.Join(s.folder, name)) }
	config := "ui = false\nlog_level = \"warn\"\nlog_requests_level = \"warn\"\n" +
		fmt.Sprintf("api_addr = %q\n", s.URL()) +
		fmt.Sprintf("cluster_addr = \"https://%s\"\n", freeport.Address(t)) +
		"storage \"raft\" {\n  path = " + quoted("data") + "\n  node_id = \"one\"\n  performance_multiplier = 1\n}\n" +
		fmt.Sprintf("listener \"tcp\" {\n  address = %q\n  tls_cert_file = %s\n  tls_key_file = %s\n}\n", address, quoted(certificateFile), quoted(keyFile)) +
		"audit \"file\" \"log\" {\n  options = {\n    file_path = " + quoted("audit.log") + "\n  }\n}\n"
	if err := os.Mkdir(filepath.Join(s.folder, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.start(t, config)
	s.await(t, func(ctx context.Context) error {
		_, err := s.client.Sys().InitStatusWithContext(ctx)
		return err
	})
	// Once and without a time-out of its own: the keys are in this answer only.
	made, err := s.client.Sys().InitWithContext(t.Context(), &api.InitRequest{SecretShares: 1, SecretThreshold: 1})
	if err != nil {
		t.Fatal(err)
	}
	s.unsealKey = made.KeysB64[0]
	s.client.SetToken(made.RootToken)
	s.Unseal(t)
	s.Mount(t, Mount)
	return s
}

// StartSelf starts a server with a configuration by which it initializes and unseals
// itself, and listens without TLS at an address. Nobody is root there.
func StartSelf(t testing.TB, config, address string) *Server {
	t.Helper()
	s := &Server{program: program(t), folder: t.TempDir(), url: "http://" + address}
	s.start(t, config)
	s.awaitActive(t)
	return s
}

// start starts the server's process, which ends with the test.
func (s *Server) start(t testing.TB, config string) {
	t.Helper()
	if err := os.WriteFile(s.file("config.hcl"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s.client = s.newClient(t)
	s.launch(t)
	t.Cleanup(func() {
		s.Down(syscall.SIGKILL)
		if t.Failed() {
			text, _ := os.ReadFile(s.Log())
			t.Logf("the end of the server's log:\n%s", text[max(0, len(text)-4000):])
		}
	})
}

func (s *Server) file(name string) string { return filepath.Join(s.folder, name) }

func (s *Server) newClient(t testing.TB) *api.Client {
	t.Helper()
	config := api.NewConfig()
	config.DisableEnvironment, config.Address, config.MaxRetries = true, s.URL(), 0
	if strings.HasPrefix(s.url, "https:") {
		if err := config.ConfigureTLS(&api.TLSConfig{CACert: s.CAFile()}); err != nil {
			t.Fatal(err)
		}
	}
	client, err := api.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// URL is the server's address.
func (s *Server) URL() string { return s.url }

// CAFile is the authority of its certificate.
func (s *Server) CAFile() string { return s.file(authorityFile) }

// Root is a token that may do everything.
func (s *Server) Root() string { return s.client.Token() }

// AuditLog is the file with every request and response, their secrets hashed.
func (s *Server) AuditLog() string { return s.file("audit.log") }

// Log is the file with what the server printed, a line for each request among it.
func (s *Server) Log() string { return s.file("server.log") }

// Storage is what the server has written to its storage so far, by file.
func (s *Server) Storage(t testing.TB) map[string][]byte {
	t.Helper()
	files, tree := map[string][]byte{}, os.DirFS(s.file("data"))
	err := fs.WalkDir(tree, ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files[path], err = fs.ReadFile(tree, path)
		}
		return err
	})
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	return files
}

// Seal seals the server: it answers with 503.
func (s *Server) Seal(t testing.TB) {
	t.Helper()
	if err := s.client.Sys().SealWithContext(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Unseal unseals it and waits until it serves.
func (s *Server) Unseal(t testing.TB) {
	t.Helper()
	s.await(t, func(ctx context.Context) error {
		_, err := s.client.Sys().UnsealWithContext(ctx, s.unsealKey)
		return err
	})
	s.awaitActive(t)
}

// awaitActive waits until it serves.
func (s *Server) awaitActive(t testing.TB) {
	t.Helper()
	s.await(t, func(ctx context.Context) error {
		health, err := s.client.Sys().HealthWithContext(ctx)
		if err == nil && (health.Sealed || health.Standby) {
			err = errors.New("sealed, or not active yet")
		}
		return err
	})
}

// Down ends the server's process with a signal and waits for its end.
func (s *Server) Down(signal syscall.Signal) {
	if s.process == nil {
		return
	}
	_ = s.process.Process.Signal(signal)
	<-s.ended
	s.process = nil
}

// Up starts the server again after Down. It is unsealed.
func (s *Server) Up(t testing.TB) {
	t.Helper()
	s.launch(t)
	if s.unsealKey == "" { // it unseals itself
		s.awaitActive(t)
		return
	}
	s.Unseal(t)
}

func (s *Server) launch(t testing.TB) {
	t.Helper()
	log, err := os.OpenFile(s.Log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	process, ended := exec.CommandContext(context.Background(), s.program, "server", "-config="+s.file("config.hcl")), make(chan struct{}) // #nosec G204 -- the test's own server
	process.Stdout, process.Stderr = log, log
	process.Env = append(os.Environ(), "HOME="+s.folder)
	process.SysProcAttr = &syscall.SysProcAttr{}
	endWithUs(process.SysProcAttr)
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	s.process, s.ended = process, ended
	go func() {
		_ = process.Wait() // it was asked to end
		_ = log.Close()
		close(ended)
	}()
}

// await repeats something until it succeeds.
func (s *Server) await(t testing.TB, f func(context.Context) error) {
	t.Helper()
	deadline := time.Now().Add(startWithin)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		err := f(ctx)
		cancel()
		if err == nil {
			return
		}
		select {
		case <-s.ended:
			text, _ := os.ReadFile(s.Log())
			t.Fatalf("the server has ended: %v\n%s", err, text)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(s.Log())
			t.Fatalf("the server does not come: %v\n%s", err, text)
		}
	}
}

// Write writes to a path as root and returns the data of the answer.
func (s *Server) Write(t testing.TB, path string, data map[string]any) *api.Secret {
	t.Helper()
	answer, err := s.client.Logical().WriteWithContext(t.Context(), path, data)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// WriteAs writes to a path with a token, and returns what the server said.
func (s *Server) WriteAs(t testing.TB, token, path string, data map[string]any) error {
	t.Helper()
	client := s.newClient(t)
	client.SetToken(token)
	_, err := client.Logical().WriteWithContext(t.Context(), path, data)
	return err
}

// ReadAs reads a version of a secret with a token; 0 is the latest.
func (s *Server) ReadAs(t testing.TB, token, path string, version int64) (*api.Secret, error) {
	t.Helper()
	client := s.newClient(t)
	client.SetToken(token)
	return client.Logical().ReadWithDataWithContext(t.Context(), path, map[string][]string{"version": {fmt.Sprint(version)}})
}

// Read reads a path as root; nil if there is nothing.
func (s *Server) Read(t testing.TB, path string) *api.Secret {
	t.Helper()
	answer, err := s.client.Logical().ReadWithContext(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// Delete deletes a path as root.
func (s *Server) Delete(t testing.TB, path string) {
	t.Helper()
	if _, err := s.client.Logical().DeleteWithContext(t.Context(), path); err != nil {
		t.Fatal(err)
	}
}

// Mount enables KV version 2 at a path.
func (s *Server) Mount(t testing.TB, path string) {
	t.Helper()
	s.Write(t, "sys/mounts/"+path, map[string]any{"type": "kv", "options": map[string]any{"version": "2"}})
	// The mount is brought to version 2 beside the first requests.
	s.await(t, func(ctx context.Context) error {
		_, err := s.client.Logical().ReadWithContext(ctx, path+"/config")
		return err
	})
}

// Policy makes a policy.
func (s *Server) Policy(t testing.TB, name, rules string) {
	t.Helper()
	if err := s.client.Sys().PutPolicyWithContext(t.Context(), name, rules); err != nil {
		t.Fatal(err)
	}
}

// Token makes a token with a policy and settings, such as "ttl".
func (s *Server) Token(t testing.TB, policy string, settings map[string]any) string {
	t.Helper()
	data := map[string]any{"policies": []string{policy}, "no_default_policy": false}
	maps.Copy(data, settings)
	return s.Write(t, "auth/token/create", data).Auth.ClientToken
}

// AppRole enables AppRole and makes a role with a policy and settings. It returns the
// role's id and a secret id.
func (s *Server) AppRole(t testing.TB, policy string, settings map[string]any) (roleID, secretID string) {
	t.Helper()
	s.Write(t, "sys/auth/approle", map[string]any{"type": "approle"})
	data := map[string]any{"token_policies": policy}
	maps.Copy(data, settings)
	s.Write(t, "auth/approle/role/worker", data)
	roleID, _ = s.Read(t, "auth/approle/role/worker/role-id").Data["role_id"].(string)
	return roleID, s.SecretID(t)
}

// SecretID makes another secret id for the role.
func (s *Server) SecretID(t testing.TB) string {
	t.Helper()
	id, _ := s.Write(t, "auth/approle/role/worker/secret-id", nil).Data["secret_id"].(string)
	return id
}

// program finds the server's program.
func program(t testing.TB) string {
	t.Helper()
	switch named := os.Getenv(programVariable); named {
	case "":
	case "none":
		t.Skip(programVariable + " is none")
	default:
		return named
	}
	if path, err := exec.LookPath("bao"); err == nil {
		return path
	}
	words := strings.FieldsFunc(os.Getenv(requireVariable), func(r rune) bool { return r == ',' || r == ' ' })
	if slices.Contains(words, "openbao") {
		t.Fatal("OpenBao is required and not there: set " + programVariable + " to its program, which fetch-openbao.sh puts into a folder")
	}
	t.Skip("OpenBao is not there: set " + programVariable + " to its program")
	return ""
}

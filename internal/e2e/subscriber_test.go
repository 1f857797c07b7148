package e2e

import (
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	kafkago "github.com/segmentio/kafka-go"

	"invoicebox-worker/internal/testutil/baotest"
	"invoicebox-worker/internal/testutil/freeport"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/internal/testutil/workertest"
	"invoicebox-worker/invoicebox/sandbox"
	"invoicebox-worker/schemas"
)

// The subscriber of docs/examples turns all activated events into the tokens that the
// sandbox issued, while the worker that answers it is killed.
func TestSubscriber(t *testing.T) {
	t.Parallel()
	program, err := workertest.Build(t.Context(), t.TempDir(), "docs/examples/subscriber")
	if err != nil {
		t.Fatal(err)
	}
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		kafkatest.Both(t, func(t *testing.T, c *kafkatest.Cluster) { subscribe(t, alone(), c, program, nil) })
	})
	t.Run("PostgreSQLReplicas", func(t *testing.T) {
		t.Parallel()
		subscribe(t, threeReplicas(t), kafkatest.Embedded(t), program, nil)
	})
	t.Run("OpenBao", func(t *testing.T) {
		t.Parallel()
		s := baotest.Start(t)
		subscribe(t, alone(), kafkatest.Embedded(t), program, s)
		for _, path := range []string{s.AuditLog(), s.Log()} {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(text), secondToken) || strings.Contains(string(text), "MARKED") {
				t.Errorf("%s contains a token", path)
			}
		}
	})
}

// secondToken begins the tokens of the second codes.
const secondToken = "second-token-of-"

// inOpenBao are the flags by which workers keep secrets in a server.
func (r *rig) inOpenBao(s *baotest.Server) []string {
	r.t.Helper()
	rules, err := os.ReadFile(filepath.Join("..", "..", "deploy", "openbao", "policy.hcl"))
	if err != nil {
		r.t.Fatal(err)
	}
	s.Policy(r.t, "invoicebox-worker", string(rules))
	roleID, secretID := s.AppRole(r.t, "invoicebox-worker", nil)
	r.write("role-id", roleID)
	r.write("secret-id", secretID)
	return []string{
		"--credentials-store", "openbao", "--vault-address", s.URL(), "--vault-ca-file", s.CAFile(),
		"--vault-role-id-file", r.path("role-id"), "--vault-secret-id-file", r.path("secret-id"),
	}
}

// subscribe runs the program as a subscriber; s has the secrets, if it is not nil.
func subscribe(t *testing.T, l layout, c *kafkatest.Cluster, program string, s *baotest.Server) {
	t.Helper()
	r := newRig(t, c, calm(0), lifted()...)
	l.place(r)
	if s != nil {
		r.extra = append(r.extra, r.inOpenBao(s)...)
	}
	const callerToken = "MARKED-token-of-the-subscriber"
	r.write("caller", callerToken+"\n")
	r.write("callers.yaml", "callers: [{name: subscriber, token-file: "+r.path("caller")+", allow: [invoicebox/default/*], requests-per-second: 1000}]")
	address := freeport.Address(t)
	answers := []string{"--credentials-listen", address, "--credentials-callers-file", r.path("callers.yaml")}
	workers := []*worker{r.start(answers...)}
	for range l.replicas - 1 {
		workers = append(workers, r.start())
	}

	// Some shops have a newer version when the subscriber reads the older event.
	const rotated = 20
	shops := shopNames("shop", shopsOfATest(t, 200))
	r.entered(shops[:rotated]...)
	r.awaitResults(schemas.TypeActivated, rotated, time.Minute)
	var second []kafkago.Message
	for _, shop := range shops[:rotated] {
		if err := r.sandbox.AddCode(sandbox.Code{Code: "second-" + shop, MerchantID: r.sandbox.MerchantOf(codeOf(shop)), Token: secondToken + shop}); err != nil {
			t.Fatal(err)
		}
		m := event(schemas.TypeCodeEntered, shop, fmt.Sprintf(`{"shopId":%q,"activationCode":%q}`, shop, "second-"+shop))
		m.Headers[1].Value = []byte("second/" + shop)
		second = append(second, m)
	}
	r.cluster.Produce(t, r.topics[schemas.TypeCodeEntered], second)
	r.awaitResults(schemas.TypeActivated, 2*rotated, time.Minute)

	kept := r.path("credentials")
	said := &logBuffer{}
	cmd := exec.CommandContext(t.Context(), program, "-brokers", strings.Join(c.Brokers(), ","), "-topic", r.topics[schemas.TypeActivated], "-group", r.group+"-subscriber",
		"-credentials-url", "http://"+address, "-token-file", r.path("caller"), "-dir", kept) // #nosec G204 -- the example under test
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	files := func() int {
		list, err := filepath.Glob(filepath.Join(kept, "*.json"))
		if err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-ended:
			t.Fatalf("the subscriber ended: %v\n%s", err, said.tail(4<<10))
		default:
		}
		return len(list)
	}
	r.entered(shops[rotated:]...)
	// Two thousand shops need minutes on a machine that does other work.
	patience := time.Minute + time.Duration(len(shops))*200*time.Millisecond
	await(t, patience, "a third of the shops is known", func() bool { return files() >= len(shops)/3 })
	workers[0].kill()
	before := files()
	workers[0] = r.start(answers...)
	await(t, 2*time.Minute+patience, "all shops are known", func() bool { return files() == len(shops) }, func() string { return said.tail(4 << 10) })
	t.Logf("%d shops were known when the worker was killed, %d at the end", before, len(shops))
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("the subscriber: %v\n%s", err, said.tail(4<<10))
	}

	for i, shop := range shops {
		code, version := codeOf(shop), int64(1)
		if i < rotated {
			code, version = "second-"+shop, 2
		}
		var got struct {
			Sequence   int64  `json:"sequence"`
			Version    int64  `json:"version"`
			MerchantID string `json:"merchantId"`
			Token      string `json:"token"`
		}
		doc, err := os.ReadFile(filepath.Join(kept, hex.EncodeToString([]byte("default"))+"-"+hex.EncodeToString([]byte(shop))+".json"))
		if err == nil {
			err = json.Unmarshal(doc, &got)
		}
		if err != nil || got.Token != r.sandbox.TokenOf(code) || got.MerchantID != r.sandbox.MerchantOf(code) || got.Version != version || got.Sequence < version {
			t.Errorf("%s: version %d, sequence %d, not what the sandbox issued: %v", shop, got.Version, got.Sequence, err)
		}
	}
	if s != nil {
		r.judgeReaders(s, len(shops)+rotated)
	}
	trail := r.must("audit", "export", "--journal-url", r.journal)
	if !strings.Contains(r.must("audit", "verify", "--journal-url", r.journal), "The audit trail is whole") {
		t.Error("the audit trail is not whole")
	}
	if n := strings.Count(trail, `"act":"credentials.read"`); n < len(shops) {
		t.Errorf("%d reads are in the audit trail, of %d shops", n, len(shops))
	}
	if n := strings.Count(trail, " replaced"); n < 1 {
		t.Error("no reference was replaced")
	}
	for what, text := range map[string]string{"the audit trail": trail, "the subscriber's log": said.tail(100 << 20), "the worker's log": workers[0].log.tail(100 << 20)} {
		for _, shop := range shops {
			if strings.Contains(text, r.sandbox.TokenOf(codeOf(shop))) || strings.Contains(text, "MARKED") {
				t.Errorf("%s contains a token", what)
				break
			}
		}
	}
}

// judgeReaders follows the reference of each event as a service does that speaks to the
// server itself. Its token can read the shops of the account, and nothing else.
func (r *rig) judgeReaders(s *baotest.Server, events int) {
	r.t.Helper()
	s.Policy(r.t, "reader", `path "`+baotest.Mount+`/data/invoicebox/default/*" { capabilities = ["read"] }`)
	token := s.Token(r.t, "reader", nil)
	seen, ids := map[string]int{}, map[string]bool{}
	for _, e := range r.results(schemas.TypeActivated) {
		if ids[e.ID] {
			continue // published again
		}
		ids[e.ID] = true
		ref, err := schemas.ParseReference(e.Data.(schemas.Activated).Credentials.Ref)
		if err != nil {
			r.t.Fatal(err)
		}
		code := codeOf(e.Subject)
		if seen[e.Subject]++; seen[e.Subject] > 1 {
			code = "second-" + e.Subject
		}
		path := strings.Replace(ref.Key(), baotest.Mount+"/", baotest.Mount+"/data/", 1)
		answer, err := s.ReadAs(r.t, token, path, ref.Version)
		if err != nil || answer == nil {
			r.t.Errorf("%s cannot be read: %v", ref, err)
			continue
		}
		if data, _ := answer.Data["data"].(map[string]any); data["token"] != r.sandbox.TokenOf(code) || data["merchantId"] != r.sandbox.MerchantOf(code) {
			r.t.Errorf("%s is not what the sandbox issued", ref)
		}
	}
	if answer, err := s.ReadAs(r.t, token, baotest.Mount+"/data/invoicebox/other/shop", 0); err == nil && answer != nil {
		r.t.Error("the reader can read another account")
	}
	if len(ids) != events {
		r.t.Errorf("%d events, want %d", len(ids), events)
	}
	r.t.Logf("%d references were read from the server itself", len(ids))
}

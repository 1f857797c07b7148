package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"invoicebox-worker/internal/testutil/freeport"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/schemas"
)

// Callers that ask as often as they can do not delay the worker's own work, and get no
// secret of another shop.
func TestCredentialsUnderLoad(t *testing.T) {
	for name, place := range map[string]func(*testing.T) layout{"SQLite": func(*testing.T) layout { return alone() }, "PostgreSQL": threeReplicas} {
		t.Run(name, func(t *testing.T) { askUnderLoad(t, place(t)) })
	}
}

// An asker is a caller.
type asker struct {
	client *http.Client
	url    string
	token  string
}

func (a *asker) ask(ctx context.Context, ref string) (status int, retry, body string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.url+"/v1/credentials?ref="+url.QueryEscape(ref), http.NoBody)
	if err != nil {
		return 0, "", "", err
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	resp, err := a.client.Do(req)
	if err != nil {
		return 0, "", "", err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header.Get("Retry-After"), string(text), err
}

func askUnderLoad(t *testing.T, l layout) {
	t.Helper()
	r := newRig(t, kafkatest.Embedded(t), calm(0), lifted()...)
	l.place(r)
	r.write("caller", "MARKED-token-of-the-caller\n")
	r.write("other", "MARKED-token-of-the-other\n")
	r.write("callers.yaml", fmt.Sprintf(`callers:
  - {name: caller, token-file: %[1]s/caller, allow: [invoicebox/default/*], requests-per-second: 100000}
  - {name: other, token-file: %[1]s/other, allow: [invoicebox/default/nobody], requests-per-second: 100000}
`, r.dir))
	address := freeport.Address(t)
	w := r.start("--credentials-listen", address, "--credentials-callers-file", r.path("callers.yaml"))
	for range l.replicas - 1 {
		r.start()
	}
	const known, connections, work = 20, 100, 200
	requests := 10 * shopsOfATest(t, 200)
	shops := shopNames("shop", known)
	r.entered(shops...)
	r.awaitResults(schemas.TypeActivated, known, time.Minute)
	refs, tokens := map[string]string{}, map[string]string{}
	for _, e := range r.results(schemas.TypeActivated) {
		refs[e.Subject] = e.Data.(schemas.Activated).Credentials.Ref
		tokens[e.Subject] = r.sandbox.TokenOf(codeOf(e.Subject))
	}
	transport := &http.Transport{MaxConnsPerHost: connections, MaxIdleConnsPerHost: connections}
	defer transport.CloseIdleConnections()
	caller := &asker{&http.Client{Transport: transport}, "http://" + address, "MARKED-token-of-the-caller"}
	other := &asker{caller.client, caller.url, "MARKED-token-of-the-other"}

	// The worker's own work without callers, and with them.
	activate := func(prefix string) time.Duration {
		begun, before := time.Now(), r.count(schemas.TypeActivated)
		r.entered(shopNames(prefix, work)...)
		r.awaitResults(schemas.TypeActivated, before+work, 2*time.Minute)
		return time.Since(begun)
	}
	alone := activate("alone")
	done := make(chan struct{})
	var probes sync.WaitGroup
	var slowest time.Duration
	probes.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			begun := time.Now()
			if status, text := w.get("/readyz"); status != http.StatusOK {
				t.Errorf("/readyz: status %d, %s", status, text)
			}
			slowest = max(slowest, time.Since(begun))
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	})
	var together time.Duration
	probes.Go(func() { together = activate("together") })
	var all sync.WaitGroup
	var given, refused atomic.Int64
	took := make([]time.Duration, requests)
	turns := make(chan struct{}, connections)
	begun := time.Now()
	for i := range requests {
		all.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			shop := shops[i%known]
			who, want := caller, http.StatusOK
			if i%10 == 9 {
				who, want = other, http.StatusNotFound
			}
			started := time.Now()
			status, _, body, err := who.ask(t.Context(), refs[shop])
			took[i] = time.Since(started)
			switch {
			case err != nil || status != want:
				t.Errorf("%s: status %d, want %d: %v", shop, status, want, err)
			case status == http.StatusOK && !strings.Contains(body, `"token":"`+tokens[shop]+`"`):
				t.Errorf("%s got another token", shop)
			case status == http.StatusOK:
				given.Add(1)
			default:
				refused.Add(1)
			}
		})
	}
	all.Wait()
	elapsed := time.Since(begun)
	close(done)
	probes.Wait()
	slices.Sort(took)
	t.Logf("%.0f requests/s, p50 %v, p99 %v; %d activations took %v alone and %v beside them; /readyz took at most %v", float64(requests)/elapsed.Seconds(),
		took[requests/2].Round(time.Microsecond), took[requests*99/100].Round(time.Microsecond), work, alone.Round(time.Millisecond), together.Round(time.Millisecond), slowest.Round(time.Millisecond))
	if given.Load() != int64(requests)*9/10 || refused.Load() != int64(requests)/10 {
		t.Errorf("%d given, %d refused", given.Load(), refused.Load())
	}
	if verified := r.must("audit", "verify", "--journal-url", r.journal); !strings.Contains(verified, "The audit trail is whole") {
		t.Error(verified)
	}
	trail := r.must("audit", "export", "--journal-url", r.journal)
	if reads, refusals := strings.Count(trail, `"act":"credentials.read"`), strings.Count(trail, `"act":"credentials.refused"`); reads != requests*9/10 || refusals != requests/10 {
		t.Errorf("the audit trail has %d reads and %d refusals", reads, refusals)
	}
	if l.server != nil {
		journalAway(t, l, caller, refs[shops[0]])
	}
	for what, text := range map[string]string{"audit trail": trail, "log": string(w.log.bytes())} {
		if strings.Contains(text, "MARKED") || slices.ContainsFunc(shops, func(shop string) bool { return strings.Contains(text, tokens[shop]) }) {
			t.Errorf("the %s contains a token", what)
		}
	}
}

// journalAway ends the database for a while.
func journalAway(t *testing.T, l layout, caller *asker, ref string) {
	t.Helper()
	l.server.Down(syscall.SIGQUIT)
	await(t, time.Minute, "callers are told to wait", func() bool {
		status, retry, body, err := caller.ask(t.Context(), ref)
		if err != nil && !errors.Is(err, io.EOF) {
			t.Errorf("no response: %v", err)
		}
		return status == http.StatusServiceUnavailable && retry == "5" && strings.Contains(body, "unavailable")
	})
	l.server.Up(t)
	await(t, time.Minute, "callers get secrets again", func() bool {
		status, _, _, _ := caller.ask(t.Context(), ref)
		return status == http.StatusOK
	})
}

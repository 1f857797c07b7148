package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"invoicebox-worker/internal/testutil/baotest"
	"invoicebox-worker/internal/testutil/kafkatest"
	"invoicebox-worker/schemas"
)

// A vaultFault is how a server, or what stands before it, fails a request.
type vaultFault struct {
	name string
	fail http.HandlerFunc
}

func vaultFaults(elsewhere string) []vaultFault {
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, `{"errors":["planted"]}`, code) }
	}
	return []vaultFault{
		{"sealed", status(503)},
		{"standby", status(473)},
		{"quota", status(429)},
		{"behind", status(412)},
		{"denied", status(403)},
		{"absent", status(404)},
		{"server-error", status(500)},
		{"gateway", func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "<html>bad gateway</html>", http.StatusBadGateway)
		}},
		{"redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere, http.StatusTemporaryRedirect)
		}},
		{"cut", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		{"slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
	}
}

// A faultyVault stands before a server. The last part of a request's path is a shop, whose
// name begins with when it fails and with which fault.
type faultyVault struct {
	server http.Handler
	faults map[string]http.HandlerFunc

	mu   sync.Mutex
	over bool
	hits map[string]int // by shop
}

// The moments of faults.
const (
	beforeCall = "before" // every request for the shop's secret
	onWrite    = "write"  // the write of the secret, before its effect
	afterWrite = "lost"   // the same, after its effect
)

func (f *faultyVault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	shop := path.Base(r.URL.Path)
	moment, name, _ := strings.Cut(shop, "-")
	fault := f.faults[name]
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	isData := strings.HasPrefix(r.URL.Path, "/v1/"+baotest.Mount+"/data/")
	isWrite := isData && r.Method == http.MethodPut && bytes.Contains(body, []byte(`"token"`))
	f.mu.Lock()
	fails := fault != nil && !f.over && (moment == beforeCall && isData || moment != beforeCall && isWrite)
	if fails {
		f.hits[shop]++
	}
	f.mu.Unlock()
	switch {
	case !fails:
		f.server.ServeHTTP(w, r)
		return
	case moment == afterWrite:
		f.server.ServeHTTP(httptest.NewRecorder(), r)
	}
	fault(w, r)
}

func (f *faultyVault) failed(shop string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hits[shop]
}

func (f *faultyVault) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over = true
}

// Every fault of a server, before a code is sent and when its secret is to be stored: no
// code is spent while the store fails, no token is lost, and each is stored once.
func TestOpenBao_Faults(t *testing.T) {
	t.Parallel()
	s := baotest.Start(t)
	to, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(contentOf(t, s.CAFile())))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	followed := make(chan string, 1000)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { followed <- r.URL.Path }))
	defer elsewhere.Close()
	proxy := &faultyVault{
		faults: map[string]http.HandlerFunc{}, hits: map[string]int{},
		server: &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }},
	}
	var shops []string
	for _, fault := range vaultFaults(elsewhere.URL) {
		proxy.faults[fault.name] = fault.fail
		for _, moment := range []string{beforeCall, onWrite, afterWrite} {
			shops = append(shops, moment+"-"+fault.name)
		}
	}
	front := httptest.NewServer(proxy)
	defer front.Close()

	r := newRig(t, kafkatest.Embedded(t), calm())
	flags := append(r.vaultFlags(s), "--credentials-store", "openbao")
	flags[1] = front.URL // --vault-address
	w := r.start(flags...)
	for _, shop := range shops {
		r.entered(shop, "code-"+shop)
	}
	awaitWithin(t, 3*time.Minute, "each shop meets its fault twice", func() bool {
		for _, shop := range shops {
			// A write whose effect was lost is found by the next read.
			if least := map[bool]int{true: 1, false: 2}[strings.HasPrefix(shop, afterWrite)]; proxy.failed(shop) < least {
				return false
			}
		}
		return true
	})
	sent := map[string]int{}
	for _, a := range r.sandbox.Effects().Activations {
		sent[a.Code] = a.Requests
	}
	for _, shop := range shops {
		want := 1
		if strings.HasPrefix(shop, beforeCall) {
			want = 0
		}
		if n := sent["code-"+shop]; n != want {
			t.Errorf("%s: the code was sent %d times while the store failed, want %d", shop, n, want)
		}
	}
	proxy.end()
	activated := map[string]schemas.Activated{}
	for _, e := range r.results(schemas.TypeActivated, len(shops)) {
		activated[e.Subject] = e.Data.(schemas.Activated)
	}
	for _, shop := range shops {
		if d := activated[shop]; d.Credentials.Ref != "ref+openbao://secret/invoicebox/default/"+shop+"?version=1" {
			t.Errorf("%s: the event refers to %q", shop, d.Credentials.Ref)
		}
		answer := s.Read(t, baotest.Mount+"/data/invoicebox/default/"+shop)
		if answer == nil {
			t.Errorf("%s: the server has no secret", shop)
			continue
		}
		data, _ := answer.Data["data"].(map[string]any)
		metadata, _ := answer.Data["metadata"].(map[string]any)
		if data["token"] != r.sandbox.TokenOf("code-"+shop) {
			t.Errorf("%s: the server has another token", shop)
		}
		if version, _ := metadata["version"].(json.Number); version != "1" {
			t.Errorf("%s: the secret is stored under version %v", shop, metadata["version"])
		}
	}
	for _, a := range r.sandbox.Effects().Activations {
		if a.Requests != 1 || a.Effects != 1 {
			t.Errorf("%s was sent %d times", a.Code, a.Requests)
		}
	}
	if n := len(followed); n > 0 {
		t.Errorf("%d requests followed the redirect", n)
	}
	if code := w.end(); code != exitDone {
		t.Errorf("exit status %d", code)
	}
	for _, shop := range shops {
		if strings.Contains(w.log.String(), r.sandbox.TokenOf("code-"+shop)) {
			t.Errorf("the log contains the token of %s", shop)
		}
	}
	t.Log(fmt.Sprint(len(shops), " shops, faults met: ", proxy.hits))
}

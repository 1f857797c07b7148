package endpoint

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// An authority signs certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{t, cert, key}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// issue makes a certificate for 127.0.0.1 and for clients.
func (a *authority) issue(subject pkix.Name, until time.Time) *tls.Certificate {
	a.t.Helper()
	return a.sign(&x509.Certificate{Subject: subject}, until)
}

// sign makes a certificate with the subject of a template.
func (a *authority) sign(of *x509.Certificate, until time.Time) *tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: of.Subject, RawSubject: of.RawSubject, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// serve answers on a listener until the test ends and returns its address.
func (r *rig) serve(config *tls.Config) string {
	r.t.Helper()
	l, err := (&net.ListenConfig{}).Listen(r.t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.server.Serve(ctx, l, config) }()
	r.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	})
	return l.Addr().String()
}

func ask(ctx context.Context, client *http.Client, address, token, ref string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address+Path+"?ref="+url.QueryEscape(ref), http.NoBody)
	if err != nil {
		return 0, "", err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

func oid(numbers ...int) asn1.ObjectIdentifier { return numbers }

// issueRaw is issue with the names of a subject in a given order.
func (a *authority) issueRaw(t *testing.T, names pkix.RDNSequence) *tls.Certificate {
	t.Helper()
	raw, err := asn1.Marshal(names)
	if err != nil {
		t.Fatal(err)
	}
	return a.sign(&x509.Certificate{RawSubject: raw}, time.Now().Add(time.Hour))
}

func TestTLS(t *testing.T) {
	own, others := newAuthority(t), newAuthority(t)
	billing := pkix.Name{CommonName: "billing", Organization: []string{"Shops"}}
	r := newRig(t)
	r.write("callers.yaml", fmt.Sprintf(twoCallers, r.dir)+"  - {name: by-certificate, subject: 'CN=billing,O=Shops', allow: [invoicebox/default/*]}\n"+
		"  - {name: in-another-order, subject: 'O=Shops,L=Ufa+CN=till,1.2.840.113549.1.9.1=#13016d', allow: [invoicebox/default/*]}\n")
	callers, err := OpenCallers(r.dir+"/callers.yaml", true, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.server.cfg.Callers = callers
	ref := r.keep("default", "shop-1")
	certificate, clients := atomic.Pointer[tls.Certificate]{}, atomic.Pointer[x509.CertPool]{}
	certificate.Store(own.issue(pkix.Name{CommonName: "worker"}, time.Now().Add(time.Hour)))
	clients.Store(own.pool())
	address := "https://" + r.serve(NewTLS(certificate.Load, clients.Load))
	client := func(certificate *tls.Certificate, roots *x509.CertPool) *http.Client {
		config := &tls.Config{RootCAs: roots}
		if certificate != nil {
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
		}
		transport := &http.Transport{TLSClientConfig: config}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport}
	}
	hour := time.Now().Add(time.Hour)
	seen := own.issue(billing, hour)
	for _, c := range []struct {
		name        string
		certificate *tls.Certificate
		token       string
		want        int // 0: no response
	}{
		{"Token", nil, markedCallerToken, http.StatusOK},
		{"Certificate", own.issue(billing, hour), "", http.StatusOK},
		{"Neither", nil, "", http.StatusUnauthorized},
		{"AnotherSubject", own.issue(pkix.Name{CommonName: "billing"}, hour), "", http.StatusUnauthorized},
		{"InItsOwnOrder", own.issueRaw(t, pkix.RDNSequence{
			{{Type: oid(1, 2, 840, 113549, 1, 9, 1), Value: "m"}}, {{Type: oid(2, 5, 4, 3), Value: "till"}, {Type: oid(2, 5, 4, 7), Value: "Ufa"}}, {{Type: oid(2, 5, 4, 10), Value: "Shops"}},
		}), "", http.StatusOK},
		{"SameAttributesInAnotherOrder", own.issueRaw(t, pkix.RDNSequence{{{Type: oid(2, 5, 4, 3), Value: "billing"}}, {{Type: oid(2, 5, 4, 10), Value: "Shops"}}}), "", http.StatusUnauthorized},
		{"SameAttributesAsOneName", own.issueRaw(t, pkix.RDNSequence{{{Type: oid(2, 5, 4, 3), Value: "billing"}, {Type: oid(2, 5, 4, 10), Value: "Shops"}}}), "", http.StatusUnauthorized},
		{"CertificateAndWrongToken", own.issue(billing, hour), "MARKED-wrong", http.StatusUnauthorized},
		{"CertificateAndToken", own.issue(billing, hour), markedCallerToken, http.StatusOK},
		{"Expired", own.issue(billing, time.Now().Add(-time.Minute)), "", 0},
		{"ExpiredAndToken", own.issue(billing, time.Now().Add(-time.Minute)), markedCallerToken, 0},
		{"OtherAuthority", others.issue(billing, hour), "", 0},
		// The certificate itself is public: whoever has seen it lacks its key.
		{"ReplayedWithoutItsKey", &tls.Certificate{Certificate: seen.Certificate, PrivateKey: own.issue(billing, hour).PrivateKey}, "", 0},
		{"WithItsKey", seen, "", http.StatusOK},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, body, err := ask(t.Context(), client(c.certificate, own.pool()), address, c.token, ref)
			if status != c.want || (err != nil) != (c.want == 0) {
				t.Errorf("status %d, %s: %v", status, body, err)
			}
		})
	}
	t.Run("ExpiresOnAnOpenConnection", func(t *testing.T) {
		// The handshake was before the end of the certificate, the request is after it.
		for until, want := range map[time.Time]int{hour: http.StatusOK, time.Now().Add(-time.Second): http.StatusUnauthorized} {
			leaf, err := x509.ParseCertificate(own.issue(billing, until).Certificate[0])
			if err != nil {
				t.Fatal(err)
			}
			w := r.get("", ref, func(q *http.Request) {
				q.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{leaf, own.cert}}}
			})
			if w.Code != want {
				t.Errorf("until %v: status %d, want %d", until, w.Code, want)
			}
		}
	})
	t.Run("FilesAreReplaced", func(t *testing.T) {
		certificate.Store(others.issue(pkix.Name{CommonName: "worker"}, hour))
		clients.Store(others.pool())
		if status, body, err := ask(t.Context(), client(others.issue(billing, hour), others.pool()), address, "", ref); status != http.StatusOK {
			t.Errorf("status %d, %s: %v", status, body, err)
		}
		if status, body, err := ask(t.Context(), client(own.issue(billing, hour), others.pool()), address, "", ref); err == nil {
			t.Errorf("a certificate of the earlier authority: status %d, %s", status, body)
		}
	})
	t.Run("OldVersion", func(t *testing.T) {
		old := client(nil, others.pool())
		old.Transport.(*http.Transport).TLSClientConfig.MaxVersion = tls.VersionTLS11
		if status, body, err := ask(t.Context(), old, address, markedCallerToken, ref); err == nil {
			t.Errorf("status %d, %s", status, body)
		}
	})
}

// The server itself answers nothing: OPTIONS * is refused and counted as all else.
func TestGeneralOptions(t *testing.T) {
	r := newRig(t)
	address := r.serve(nil)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, "http://"+address, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.URL.Path, req.URL.Opaque = "", "*"
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusNotFound || resp.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("status %d, %v", resp.StatusCode, resp.Header)
	}
}

// Many requests at once: each gets a response of its own shop, or none, and the journal is
// read by few of them at once.
func TestManyRequests(t *testing.T) {
	r := newRig(t)
	const shops, requests, connections = 50, 10_000, 100
	refs := make([]string, shops)
	for i := range refs {
		refs[i] = r.keep("default", fmt.Sprintf("shop-%d", i))
	}
	address := "http://" + r.serve(nil)
	transport := &http.Transport{MaxConnsPerHost: connections, MaxIdleConnsPerHost: connections}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	var given, refused atomic.Int64
	var all sync.WaitGroup
	for i := range requests {
		all.Go(func() {
			shop := i % shops
			token, want := markedCallerToken, http.StatusOK
			if i%10 == 9 {
				token, want = "MARKED-wrong-token", http.StatusUnauthorized
			}
			status, body, err := ask(t.Context(), client, address, token, refs[shop])
			switch {
			case err != nil || status != want:
				t.Errorf("status %d, want %d: %s %v", status, want, body, err)
			case status == http.StatusOK && !strings.Contains(body, fmt.Sprintf(`"token":"%s-shop-%d-1"`, markedShopToken, shop)):
				t.Errorf("shop-%d got %s", shop, body)
			case status == http.StatusOK:
				given.Add(1)
			default:
				refused.Add(1)
			}
		})
	}
	all.Wait()
	if given.Load() != requests*9/10 || refused.Load() != requests/10 || len(r.audit) != requests*9/10 {
		t.Errorf("%d given, %d refused, %d audit entries", given.Load(), refused.Load(), len(r.audit))
	}
	if r.mostAtOne > maxReads {
		t.Errorf("%d requests read at once", r.mostAtOne)
	}
	if r.commits >= len(r.audit) {
		t.Errorf("%d entries in %d commits", len(r.audit), r.commits)
	}
	t.Logf("%d entries in %d commits, at most %d reads at once", len(r.audit), r.commits, r.mostAtOne)
}

// While the journal is slow, requests end with 503, and further ones do not wait for ever.
func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		ref := r.keep("default", "shop-1")
		r.hold = make(chan struct{})
		var all sync.WaitGroup
		outcomes := make([]string, maxReads+5)
		begun := time.Now()
		for i := range outcomes {
			all.Go(func() { outcomes[i] = r.get(markedCallerToken, ref, nil).Body.String() })
		}
		all.Wait()
		close(r.hold)
		count := map[outcome]int{}
		for _, body := range outcomes {
			for _, o := range []outcome{busy, unavailable} {
				if strings.Contains(body, string(problemType+o)) {
					count[o]++
				}
			}
		}
		if count[busy] != 5 || count[unavailable] != maxReads || r.mostAtOne != maxReads || time.Since(begun) != readWithin {
			t.Errorf("%v, %d requests read at once, %v", count, r.mostAtOne, time.Since(begun))
		}
		if w := r.get(markedCallerToken, ref, nil); w.Code != http.StatusOK {
			t.Errorf("afterwards: status %d", w.Code)
		}
	})
}

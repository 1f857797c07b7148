package app

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"invoicebox-worker/internal/secret"
	"invoicebox-worker/invoicebox"
)

// certificate makes a server's certificate that it signs itself.
func certificate(t *testing.T, host string, from, to time.Time) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host}, NotBefore: from, NotAfter: to,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// raw answers every connection with some bytes.
func raw(t *testing.T, reply string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = c.Read(make([]byte, 4096))
				_, _ = io.WriteString(c, reply)
				_ = c.Close()
			}()
		}
	}()
	return l.Addr().String()
}

// Each cause has words of its own that name what to set.
func TestCheckSaysWhyInvoiceboxCannotBeReached(t *testing.T) {
	const host = "api.shop.example"
	now := time.Now()
	serve := func(cert *tls.Certificate, status int, contentType, body string) string {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if status >= 300 && status < 400 {
				w.Header().Set("Location", "https://elsewhere.example/")
			}
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}))
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		if cert == nil {
			s.Start()
		} else {
			s.TLS = &tls.Config{Certificates: []tls.Certificate{*cert}}
			s.StartTLS()
		}
		t.Cleanup(s.Close)
		return s.Listener.Addr().String()
	}
	good, pool := certificate(t, host, now.Add(-time.Hour), now.Add(time.Hour))
	other, otherPool := certificate(t, "other.example", now.Add(-time.Hour), now.Add(time.Hour))
	old, oldPool := certificate(t, host, now.Add(-2*time.Hour), now.Add(-time.Hour))
	const check = `{"data":{"userId":"1","profile":null,"accessToken":null}}`
	api := serve(&good, 200, "application/json", check)
	through := func(text string) func(*url.URL) (*url.URL, error) {
		return func(*url.URL) (*url.URL, error) { return url.Parse(text) }
	}
	noSuchName := &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	seen := map[string]string{}
	for name, c := range map[string]struct {
		at    string // where the API's host leads
		pool  *x509.CertPool
		proxy func(*url.URL) (*url.URL, error)
		fails error // of the dial
		want  CheckVerdict
		words []string
	}{
		"good":                        {api, pool, nil, nil, CheckOK, []string{"accepts the token"}},
		"unknown authority":           {api, x509.NewCertPool(), nil, nil, CheckFailed, []string{"authority", "--invoicebox-ca-file", "SSL_CERT_FILE"}},
		"another host name":           {serve(&other, 200, "", check), otherPool, nil, nil, CheckFailed, []string{"for another host", "--invoicebox-url"}},
		"an expired certificate":      {serve(&old, 200, "", check), oldPool, nil, nil, CheckFailed, []string{"expired", "clock"}},
		"no TLS":                      {serve(nil, 200, "", check), nil, nil, nil, CheckFailed, []string{"does not speak TLS", "--invoicebox-url"}},
		"a handshake that is cut":     {raw(t, ""), nil, nil, nil, CheckFailed, []string{"handshake"}},
		"refused":                     {closedPort(t), nil, nil, nil, CheckFailed, []string{"refused", "port"}},
		"no such name":                {"", nil, nil, noSuchName, CheckFailed, []string{"name does not exist", "--invoicebox-url"}},
		"a resolver that is away":     {"", nil, nil, &net.DNSError{Err: "i/o timeout", IsTimeout: true}, CheckFailed, []string{"resolver did not answer"}},
		"no answer":                   {"", nil, nil, context.DeadlineExceeded, CheckFailed, []string{"firewall", "HTTPS_PROXY"}},
		"a proxy that wants a user":   {"", nil, through("http://" + raw(t, "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")), nil, CheckFailed, []string{"407", "HTTPS_PROXY", "USER:PASSWORD"}},
		"a proxy without the API":     {"", nil, through("http://" + raw(t, "HTTP/1.1 502 Bad Gateway\r\n\r\n")), nil, CheckFailed, []string{"502", "NO_PROXY"}},
		"a proxy that is away":        {"", nil, through("http://" + closedPort(t)), nil, CheckFailed, []string{"through the proxy", "refused", "HTTPS_PROXY"}},
		"a proxy that nobody knows":   {"", nil, through("http://no-such-host.invalid:1"), noSuchName, CheckFailed, []string{"through the proxy", "name does not exist", "HTTPS_PROXY"}},
		"a proxy that is none":        {"", nil, through("http://" + raw(t, "SSH-2.0-x\r\n")), nil, CheckFailed, []string{"do not serve an HTTP proxy"}},
		"a SOCKS proxy":               {"", nil, through("socks5://127.0.0.1:1"), nil, CheckFailed, []string{"SOCKS", "HTTPS_PROXY", "NO_PROXY"}},
		"nonsense in HTTPS_PROXY":     {"", nil, func(*url.URL) (*url.URL, error) { return nil, errors.New("nonsense") }, nil, CheckFailed, []string{"HTTPS_PROXY cannot be read"}},
		"a wrong address, HTML":       {serve(&good, 404, "text/html", "<html>"), pool, nil, nil, CheckFailed, []string{"404", "no Invoicebox API", "--invoicebox-url"}},
		"a wrong path, JSON":          {serve(&good, 405, "application/json", `{"code":"method_not_allowed_http_exception"}`), pool, nil, nil, CheckFailed, []string{"405", "no Invoicebox API"}},
		"a page that is fine":         {serve(&good, 200, "text/html", "<html>hello"), pool, nil, nil, CheckFailed, []string{"200", "text/html", "no Invoicebox API"}},
		"a redirect":                  {serve(&good, 301, "", ""), pool, nil, nil, CheckFailed, []string{"redirect (301)", "--invoicebox-url"}},
		"a gateway's refusal":         {serve(&good, 403, "text/html", "<html>"), pool, nil, nil, CheckWarning, []string{"403", "gateway"}},
		"an account without rights":   {serve(&good, 403, "application/json", `{"error":{"code":"forbidden"}}`), pool, nil, nil, CheckWarning, []string{"403", "rights"}},
		"another code":                {serve(&good, 422, "application/json", `{"error":{"code":"validation"}}`), pool, nil, nil, CheckFailed, []string{"422 validation", "--partner-id"}},
		"a wrong token":               {serve(&good, 401, "application/json", `{"error":{"code":"unauthorized"}}`), pool, nil, nil, CheckFailed, []string{"--token-file"}},
		"the limit":                   {serve(&good, 429, "", ""), pool, nil, nil, CheckWarning, []string{"limit of requests"}},
		"not available at the moment": {serve(&good, 503, "", ""), pool, nil, nil, CheckWarning, []string{"503", "try again"}},
		"a fault":                     {serve(&good, 500, "", ""), pool, nil, nil, CheckWarning, []string{"failed (500)"}},
	} {
		o := Defaults()
		o.InvoiceboxURL = "https://" + host
		dial := func(ctx context.Context, network, address string) (net.Conn, error) {
			if c.fails != nil {
				return nil, &net.OpError{Op: "dial", Err: c.fails}
			}
			if strings.HasPrefix(address, host) {
				address = c.at
			}
			return (&net.Dialer{}).DialContext(ctx, network, address)
		}
		proxy := c.proxy
		if proxy == nil {
			proxy = func(*url.URL) (*url.URL, error) { return nil, nil } //nolint:nilnil // none
		}
		transport := invoicebox.NewTransport(invoicebox.TransportOptions{RootCAs: c.pool, Proxy: proxy, Dial: dial})
		client, err := newClient(&o, Account{Name: "default", PartnerID: "p", Token: func() secret.String { return secret.New("t0ken") }}, transport, nil)
		if err != nil {
			t.Fatal(err)
		}
		verdict, words := describeTokenCheck(&o, client.CheckOwnToken(t.Context()))
		transport.Close()
		if verdict != c.want {
			t.Errorf("%s: %s, want %s: %s", name, verdict, c.want, words)
		}
		for _, want := range c.words {
			if !strings.Contains(words, want) {
				t.Errorf("%s has no %q: %s", name, want, words)
			}
		}
		if before, ok := seen[words]; ok {
			t.Errorf("%s and %s have the same words: %s", name, before, words)
		}
		seen[words] = name
	}
}

func TestEveryObstacleHasWords(t *testing.T) {
	known := map[invoicebox.ConnectFailure]bool{}
	for _, row := range connectFailureTexts {
		if known[row.failure] || row.proxy == "" {
			t.Errorf("%s", row.failure)
		}
		known[row.failure] = true
	}
	for _, o := range invoicebox.ConnectFailures() {
		if !known[o] {
			t.Errorf("%s has no words", o)
		}
	}
}

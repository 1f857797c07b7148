package sandbox_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"invoicebox-worker/invoicebox/sandbox"
)

// BenchmarkHandler is a request's own cost, without a server and a socket.
func BenchmarkHandler(b *testing.B) {
	for _, p := range []sandbox.Profile{sandbox.Calm, sandbox.Realistic} {
		for _, op := range []string{"invite", "activate", "check"} {
			b.Run(string(p)+"/"+op, func(b *testing.B) {
				// A nanosecond of latency: what is measured is work.
				sb := newSandbox(b, sandbox.Options{Profile: p, Latency: 1, RequestsPerWindow: lifted, EgressPerWindow: lifted})
				api := sb.API()
				b.ReportAllocs()
				for i := range b.N {
					r := benchRequest(op, i)
					func() {
						defer func() { _ = recover() }()
						api.ServeHTTP(&nowhere{header: http.Header{}}, r)
					}()
				}
			})
		}
	}
}

func benchRequest(op string, i int) *http.Request {
	method, path, body := "POST", sandbox.ActivatePath, activation(sandbox.DefaultPartnerID, strconv.Itoa(i))
	switch op {
	case "invite":
		path, body = sandbox.InvitePath, `{"partnerId":"`+sandbox.DefaultPartnerID+`","type":"email","identifier":"shop`+strconv.Itoa(i)+`@shop.example"}`
	case "check":
		method, path, body = "GET", sandbox.CheckPath, ""
	}
	r, _ := http.NewRequest(method, path, strings.NewReader(body))
	r.RemoteAddr = "127.0.0.1:4711"
	r.Header["Content-Type"] = []string{"application/json"}
	r.Header["Accept"] = []string{"application/json"}
	r.Header["Authorization"] = []string{"Bearer " + sandbox.DefaultToken}
	return r
}

// nowhere is a response that nobody reads.
type nowhere struct{ header http.Header }

func (n *nowhere) Header() http.Header         { return n.header }
func (n *nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (n *nowhere) WriteHeader(int)             {}

// BenchmarkServer is all of it: net/http and sockets on both sides.
func BenchmarkServer(b *testing.B) {
	sb := newSandbox(b, sandbox.Options{RequestsPerWindow: lifted, EgressPerWindow: lifted, Logger: slog.New(slog.DiscardHandler)})
	srv := httptest.NewServer(sb.API())
	defer srv.Close()
	client := srv.Client()
	client.Transport.(*http.Transport).MaxIdleConnsPerHost = 64
	var n atomic.Int64
	b.SetParallelism(16)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r := benchRequest("activate", int(n.Add(1)))
			r.URL.Scheme, r.URL.Host = "http", srv.Listener.Addr().String()
			resp, err := client.Do(r)
			if err != nil || resp.StatusCode != http.StatusOK {
				b.Errorf("%v %v", resp, err)
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
}

//go:build unix

package invoicebox_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"invoicebox-worker/internal/secret"
	"invoicebox-worker/invoicebox"
)

// cheapServer answers with as little work as can be, so that what is measured
// is the client. It knows requests by the end of their bodies.
func cheapServer(b *testing.B, reply string) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				r := bufio.NewReader(c)
				for {
					if _, err := r.ReadSlice('}'); err != nil {
						return
					}
					if _, err := io.WriteString(c, reply); err != nil {
						return
					}
				}
			}()
		}
	}()
	b.Cleanup(func() { _ = l.Close() })
	return "http://" + l.Addr().String()
}

// reportCPU adds the process's CPU time per call, server included.
func reportCPU(b *testing.B) func() {
	var before syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	return func() {
		var after syscall.Rusage
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
		used := time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
		b.ReportMetric(float64(used.Nanoseconds())/float64(b.N), "cpu-ns/op")
	}
}

func BenchmarkInvite(b *testing.B) {
	client, err := invoicebox.New(options(cheapServer(b, answer(200, goodInvite, "Content-Type: application/json")), nil))
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	email := secret.New(markedEmail)
	b.ReportAllocs()
	done := reportCPU(b)
	for b.Loop() {
		if x := client.Invite(b.Context(), invoicebox.CallOptions{SendBy: time.Now().Add(time.Minute)}, email); x.Err != nil {
			b.Fatal(x.Err)
		}
	}
	done()
}

func BenchmarkInviteParallel(b *testing.B) {
	client, err := invoicebox.New(options(cheapServer(b, answer(200, goodInvite, "Content-Type: application/json")), nil))
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	email := secret.New(markedEmail)
	b.ReportAllocs()
	b.SetParallelism(max(1, 64/runtime.GOMAXPROCS(0)))
	done := reportCPU(b)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if x := client.Invite(b.Context(), invoicebox.CallOptions{SendBy: time.Now().Add(time.Minute)}, email); x.Err != nil {
				b.Error(x.Err)
				return
			}
		}
	})
	done()
}

// The same request over net/http alone, to compare with.
func BenchmarkPlainHTTP(b *testing.B) {
	base := cheapServer(b, answer(200, goodInvite, "Content-Type: application/json"))
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	body := `{"partnerId":"` + partnerID + `","type":"email","identifier":"` + markedEmail + `"}`
	b.ReportAllocs()
	done := reportCPU(b)
	for b.Loop() {
		req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, base+"/v3/notification/api/invite", strings.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+markedToken)
		req.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	done()
}

func BenchmarkClassify(b *testing.B) {
	for name, x := range map[string]invoicebox.Exchange{
		"done":    complete(invoicebox.Activate, 200, goodActivate),
		"refused": complete(invoicebox.Activate, 422, `{"error":{"message":"m","code":"wrong_value","fields":[{"name":"activationCode"}]}}`),
		"html":    complete(invoicebox.Activate, 502, "<html>"),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				invoicebox.Classify(x)
			}
		})
	}
}

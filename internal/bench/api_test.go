package bench

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
)

// An api answers every call with success after a latency. It does as little as possible,
// because its CPU time would hide that of the worker.
type api struct {
	url     string
	latency time.Duration
	calls   atomic.Int64
	began   atomic.Pointer[time.Time] // when the first call since reset came
}

func newAPI(b *testing.B, latency time.Duration) *api {
	a := &api{latency: latency}
	server := httptest.NewServer(a)
	b.Cleanup(server.Close)
	a.url = server.URL
	return a
}

// reset forgets the calls so far.
func (a *api) reset() {
	a.calls.Store(0)
	a.began.Store(nil)
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	a.began.CompareAndSwap(nil, &now)
	a.calls.Add(1)
	answer := `{"data":{"userId":1}}`
	switch {
	case strings.HasSuffix(r.URL.Path, "/invite"):
		answer = `{"data":{"id":1}}`
	case strings.HasSuffix(r.URL.Path, "/activation"):
		var in struct {
			ActivationCode string `json:"activationCode"`
		}
		if err := json.UnmarshalRead(r.Body, &in); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		// A shop's merchant id stays the same: the code is the shop's name and a number.
		shop := in.ActivationCode[:strings.LastIndexByte(in.ActivationCode, '-')]
		answer = `{"data":{"merchantId":"m-` + shop + `","token":"token-of-` + in.ActivationCode + `"}}`
	}
	if a.latency > 0 {
		<-time.After(a.latency)
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(answer))
}

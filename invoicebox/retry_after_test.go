package invoicebox_test

import (
	"net/http"
	"testing"
	"time"

	"invoicebox-worker/invoicebox"
)

func TestRetryAfter(t *testing.T) {
	finished := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	const server = "Mon, 23 Nov 2026 15:00:00 GMT" // its clock is three hours ahead
	for _, c := range []struct {
		status int
		header http.Header
		want   time.Duration
	}{
		{429, nil, 0},
		{429, http.Header{"Retry-After": {"17"}}, 17 * time.Second},
		{429, http.Header{"Retry-After": {" 17 "}}, 17 * time.Second},
		{429, http.Header{"Retry-After": {"0"}}, 0},
		{429, http.Header{"Retry-After": {"1.5"}}, 2 * time.Second},
		{429, http.Header{"Retry-After": {"2.0"}}, 2 * time.Second},
		{429, http.Header{"Retry-After": {"-5"}}, 0},
		{429, http.Header{"Retry-After": {"7200"}}, time.Hour},
		{429, http.Header{"Retry-After": {"99999999999999999999999999"}}, time.Hour},
		{429, http.Header{"Retry-After": {"soon"}}, 0},
		{429, http.Header{"Retry-After": {"1e3"}}, 0},
		{429, http.Header{"Retry-After": {"1."}}, 0},
		{429, http.Header{"Retry-After": {"+1"}}, 0},
		{429, http.Header{"Retry-After": {"Mon, 23 Nov 2026 12:00:30 GMT"}}, 30 * time.Second},
		{429, http.Header{"Retry-After": {"Mon, 23 Nov 2026 15:00:30 GMT"}, "Date": {server}}, 30 * time.Second},
		{429, http.Header{"Retry-After": {"Mon, 23 Nov 2026 11:00:00 GMT"}}, 0},
		{429, http.Header{"Retry-After": {"Mon, 23 Nov 9999 11:00:00 GMT"}}, time.Hour},
		{429, http.Header{"Retry-After": {"soon"}, "Ratelimit-Reset": {"9"}}, 9 * time.Second},
		{429, http.Header{"Retry-After": {"3"}, "Ratelimit-Reset": {"9"}}, 3 * time.Second},
		{429, http.Header{"X-Ratelimit-Reset": {"9"}}, 9 * time.Second},
		{429, http.Header{"X-Ratelimit-Reset": {"1795435225"}}, 25 * time.Second},
		{429, http.Header{"X-Ratelimit-Reset": {"1795435225.25"}}, 25 * time.Second},
		{429, http.Header{"X-Ratelimit-Reset": {"1795435225000"}}, 25 * time.Second},
		{429, http.Header{"X-Ratelimit-Reset": {"1000000000"}}, 0},
		{429, http.Header{"X-Ratelimit-Reset": {"9223372036854775807"}}, 0},
		{429, http.Header{"Ratelimit": {`"default";r=0;t=12`}}, 12 * time.Second},
		{429, http.Header{"Ratelimit": {`limit=100, remaining=0, reset=12`}}, 12 * time.Second},
		{429, http.Header{"Ratelimit": {`;;,,==`}}, 0},
		{503, http.Header{"Retry-After": {"5"}}, 5 * time.Second},
		{503, http.Header{"Ratelimit-Reset": {"9"}}, 0},
		{425, http.Header{"Retry-After": {"5"}}, 5 * time.Second},
		{408, http.Header{"Retry-After": {"5"}}, 5 * time.Second},
		{500, http.Header{"Retry-After": {"5"}}, 5 * time.Second},
		{422, http.Header{"Retry-After": {"5"}}, 0},
	} {
		x := complete(invoicebox.Activate, c.status, "")
		x.Header, x.Finished = c.header, finished
		if got := invoicebox.Classify(x).RetryAfter; got != c.want {
			t.Errorf("%d %v: %s, want %s", c.status, c.header, got, c.want)
		}
	}
}

func TestDrained(t *testing.T) {
	for _, c := range []struct {
		header http.Header
		want   time.Duration
	}{
		{http.Header{"Ratelimit-Remaining": {"0"}, "Ratelimit-Reset": {"9"}}, 9 * time.Second},
		{http.Header{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {"9"}}, 9 * time.Second},
		{http.Header{"Ratelimit": {`"default";r=0;t=12`}}, 12 * time.Second},
		{http.Header{"X-Ratelimit-Remaining": {"1"}, "X-Ratelimit-Reset": {"9"}}, 0},
		{http.Header{"X-Ratelimit-Reset": {"9"}}, 0},
		{http.Header{"X-Ratelimit-Remaining": {"0"}}, 0},
	} {
		x := complete(invoicebox.Invite, 200, goodInvite)
		x.Header = c.header
		if v := invoicebox.Classify(x); v.RateLimitReset != c.want || v.Outcome != invoicebox.Done || v.RetryAfter != 0 {
			t.Errorf("%v: %+v, want %s", c.header, v, c.want)
		}
	}
}

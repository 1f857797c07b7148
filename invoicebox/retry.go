package invoicebox

import (
	"context"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

// Between the two tries of a call.
const (
	retryWaitMin = 20 * time.Millisecond
	retryWaitMax = 150 * time.Millisecond
)

// newRetryClient makes the loop of at most two tries for one call. Both tries write down in
// k what happened. The loop never looks at what a server says: a response, whatever its
// status, ends the call.
func newRetryClient(t *Transport, k *call) *retryablehttp.Client {
	return &retryablehttp.Client{
		// wire has no CloseIdleConnections on purpose: the loop would call it
		// after every failed call and take the connections from all others.
		HTTPClient: &http.Client{
			Transport: wire{t, k},
			CheckRedirect: func(*http.Request, []*http.Request) error {
				return http.ErrUseLastResponse
			},
		},
		RetryMax:     1,
		RetryWaitMin: retryWaitMin,
		RetryWaitMax: retryWaitMax,
		CheckRetry:   k.checkRetry,
		Backoff:      backoff,
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}
}

// checkRetry allows another try where it is proven that nothing was written and
// a connection might be had now.
func (k *call) checkRetry(ctx context.Context, _ *http.Response, err error) (bool, error) {
	return err != nil && ctx.Err() == nil && k.retryable(), nil
}

// backoff is short, random and deaf to Retry-After.
func backoff(low, high time.Duration, _ int, _ *http.Response) time.Duration {
	return low + rand.N(high-low) //nolint:gosec // nobody gains by guessing it
}

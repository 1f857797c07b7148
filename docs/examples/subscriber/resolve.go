package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
)

// errUnknown reports that no credentials that this caller may read have the reference.
var errUnknown = errors.New("the reference is unknown")

// errDisconnected reports that an operator has disconnected the shop.
var errDisconnected = errors.New("the shop is disconnected")

// credentials are the body of a response.
type credentials struct {
	Account    string `json:"account"`
	ShopID     string `json:"shopId"`
	Version    int64  `json:"version"`
	MerchantID string `json:"merchantId"`
	Token      string `json:"token"`
}

// A problem is the body of a response that is no success.
type problem struct {
	Type       string `json:"type"`
	Title      string `json:"title"`
	CurrentRef string `json:"currentRef"` // with status 410; empty if the shop is disconnected
}

// A resolver asks the worker's endpoint.
type resolver struct {
	url, token string
	client     *http.Client
	log        *slog.Logger
}

func newResolver(url, token string, log *slog.Logger) *resolver {
	return &resolver{url: url, token: token, log: log, client: &http.Client{
		Timeout: 15 * time.Second,
		// The token must not be sent anywhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

const (
	maxHops    = 10               // from one version to the next, while resolving
	shortWait  = time.Second      // after a response without Retry-After, or none
	longWait   = 30 * time.Second // the longest
	maxAnswer  = 64 << 10
	maxRetries = 100
)

// resolve returns the credentials behind a reference. It follows a reference that was
// replaced, and waits while the endpoint is busy or cannot be reached.
func (r *resolver) resolve(ctx context.Context, ref string) (credentials, error) {
	hops := 0
	wait := shortWait
	for range maxRetries {
		status, body, after, err := r.get(ctx, ref)
		switch {
		case err != nil && ctx.Err() != nil:
			return credentials{}, ctx.Err()
		case err == nil && status == http.StatusOK:
			var c credentials
			if err := json.Unmarshal(body, &c); err != nil || c.Token == "" {
				return credentials{}, errors.New("the response has no credentials") // err may quote them
			}
			return c, nil
		case err == nil && status == http.StatusGone:
			var p problem
			if err := json.Unmarshal(body, &p); err != nil || p.CurrentRef == ref || hops == maxHops {
				return credentials{}, errors.New("the reference was replaced, and the response names no other")
			}
			if p.CurrentRef == "" {
				return credentials{}, errDisconnected
			}
			ref = p.CurrentRef
			hops++
			continue
		case err == nil && status == http.StatusNotFound:
			return credentials{}, errUnknown
		case err == nil && status != http.StatusTooManyRequests && status != http.StatusServiceUnavailable:
			var p problem
			_ = json.Unmarshal(body, &p) // a proxy may answer with something else
			return credentials{}, fmt.Errorf("status %d: %s", status, p.Title)
		case err != nil:
			r.log.Warn("the credentials endpoint cannot be reached", "err", err.Error())
		}
		if after == 0 {
			after, wait = wait, min(2*wait, longWait)
		}
		// Callers that were sent away together do not come back together.
		timer := time.NewTimer(after + rand.N(after/4+1)) // #nosec G404 -- no secret
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return credentials{}, ctx.Err()
		}
	}
	return credentials{}, errors.New("the credentials endpoint does not answer")
}

func (r *resolver) get(ctx context.Context, ref string) (status int, body []byte, after time.Duration, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url+"/v1/credentials?ref="+url.QueryEscape(ref), http.NoBody)
	if err != nil {
		return 0, nil, 0, err
	}
	request.Header.Set("Authorization", "Bearer "+r.token)
	response, err := r.client.Do(request)
	if err != nil {
		return 0, nil, 0, err
	}
	defer func() { _ = response.Body.Close() }()
	if body, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer)); err != nil {
		return 0, nil, 0, err
	}
	if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && seconds > 0 {
		after = min(time.Duration(seconds)*time.Second, longWait)
	}
	return response.StatusCode, body, after, nil
}

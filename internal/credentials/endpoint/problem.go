package endpoint

import (
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
)

// An outcome is how a request ended: the label of its metric, and of a problem also the end
// of its type.
type outcome string

// The outcomes.
const (
	given           outcome = "given"
	notModified     outcome = "not_modified"
	invalidRequest  outcome = "invalid_request"
	unauthenticated outcome = "unauthenticated"
	notFound        outcome = "not_found"
	wrongMethod     outcome = "wrong_method"
	unknown         outcome = "unknown_reference"
	replaced        outcome = "replaced"
	disconnected    outcome = "disconnected"
	rateLimited     outcome = "rate_limited"
	keyMissing      outcome = "key_missing"
	unreadable      outcome = "unreadable"
	unavailable     outcome = "unavailable"
	busy            outcome = "busy"
)

// outcomes lists all outcomes.
func outcomes() []outcome {
	return []outcome{given, notModified, invalidRequest, unauthenticated, notFound, wrongMethod, unknown, replaced, disconnected, rateLimited, keyMissing, unreadable, unavailable, busy}
}

const problemType = "urn:invoicebox-worker:problem:"

// A problem is a response of RFC 9457.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitzero"`
	// Of a reference that was replaced:
	CurrentRef     string `json:"currentRef,omitzero"`
	CurrentVersion int64  `json:"currentVersion,omitzero"`
}

// A kind is the common part of all problems of one outcome.
type kind struct {
	status int
	title  string
	detail string
}

// kinds are the problems. Unknown references and those of other callers' shops share one,
// so that they cannot be told apart.
func kinds() map[outcome]kind {
	return map[outcome]kind{
		invalidRequest:  {http.StatusBadRequest, "The request is invalid", "Send GET /v1/credentials with one parameter, ref, that is a percent-encoded reference as an event has it, and without a body."},
		unauthenticated: {http.StatusUnauthorized, "The caller is unknown", "Send a bearer token, or a client certificate, that the service accepts."},
		notFound:        {http.StatusNotFound, "There is no such resource", "The one resource is /v1/credentials."},
		wrongMethod:     {http.StatusMethodNotAllowed, "The method is not allowed", "Use GET."},
		unknown:         {http.StatusNotFound, "The reference is unknown", "No credentials that this caller may read have this reference."},
		replaced:        {http.StatusGone, "The reference was replaced", "The credentials have a newer version: use currentRef."},
		disconnected:    {http.StatusGone, "The shop is disconnected", "An operator has disconnected the shop. Its credentials must not be used any more. An event announces the next ones."},
		rateLimited:     {http.StatusTooManyRequests, "The caller sends too many requests", "Wait for as long as Retry-After says."},
		keyMissing:      {http.StatusInternalServerError, "The key of the secret is missing", "The service's keyset lacks the key that sealed the secret. An operator has to restore it."},
		unreadable:      {http.StatusInternalServerError, "The secret cannot be opened", "The stored secret does not open for this shop and version. An operator has to examine it."},
		unavailable:     {http.StatusServiceUnavailable, "The service cannot read or audit now", "Try again after Retry-After."},
		busy:            {http.StatusServiceUnavailable, "Too many requests at once", "Try again after Retry-After."},
	}
}

func newProblem(o outcome) problem {
	k := kinds()[o]
	return problem{Type: problemType + string(o), Title: k.title, Status: k.status, Detail: k.detail}
}

// write sends the problem. A wait of 0 sends no Retry-After.
func (p problem) write(w http.ResponseWriter, wait time.Duration) {
	body, err := json.Marshal(p)
	if err != nil { // texts of this package, and a reference, which is ASCII
		body = []byte("{}")
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	if wait > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	}
	switch p.Status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="credentials"`)
	case http.StatusMethodNotAllowed:
		h.Set("Allow", http.MethodGet)
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(body, '\n'))
}

package sandbox

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"time"
)

// arrive notes a request and draws its fate.
func (s *Sandbox) arrive(ex *exchange) {
	ex.state = s.state.Load()
	nth := s.note(ex)
	ex.lot = s.draw(ex.op, ex.text, nth)
}

// note counts the request and returns how many of its kind there were.
func (s *Sandbox) note(ex *exchange) uint64 {
	st := ex.state
	st.mu.Lock()
	defer st.mu.Unlock()
	ex.arrived = st.now()
	ex.record, ex.number = st.log.add()
	ex.peer = st.peer(ex.ip, s.options)
	ex.peer.requests++
	ex.peer.arrived.add(ex.arrived)
	if ex.token != "" {
		ex.account = st.byToken[ex.token]
		ex.shop = st.shops[ex.token]
	}
	if ex.account != nil {
		ex.account.requests++
		ex.account.arrived.add(ex.arrived)
	}
	nth := st.meet(ex, s.options.MaxRecords)
	if ex.record != nil {
		*ex.record = record{arrived: ex.arrived, answered: -1, text: ex.text, account: ex.account, peer: ex.peer, op: opCodeOf(ex.op)}
	}
	return nth
}

// meet finds whom the request is about, counts it there and returns how many
// there were, this one included.
func (st *state) meet(ex *exchange, keep int) uint64 {
	switch {
	case ex.text != "":
		sub := st.subject(ex.op, ex.text, keep)
		if sub == nil {
			return ex.number
		}
		ex.subject, ex.text = sub, sub.text // one copy of the text for all requests
		sub.requests++
		if sub.inFlight++; sub.inFlight > 1 {
			sub.overlaps++
			st.overlaps++
		}
		return uint64(sub.requests)
	case ex.op == Check && ex.account != nil:
		ex.text = ex.account.PartnerID
		ex.account.checks++
		return ex.account.checks
	case ex.op == Check && ex.shop != nil:
		ex.text = ex.shop.code.merchantID
		ex.shop.code.asked++
		return ex.shop.code.asked
	}
	st.unseen++
	return st.unseen
}

// count is the moment at which the server counts the request towards the
// limits, and refuses it when one is used up.
func (s *Sandbox) count(ex *exchange) (answer, bool) {
	st := ex.state
	st.mu.Lock()
	defer st.mu.Unlock()
	at := st.now()
	meters := [2]*rateMeter{&ex.peer.rateMeter, nil}
	if ex.account != nil {
		meters[1] = &ex.account.rateMeter
	}
	var full *rateMeter
	for _, m := range meters {
		if m == nil {
			continue
		}
		m.count(at)
		if m.full(at) {
			m.limited++
			full = m
		}
	}
	for _, m := range meters {
		if m != nil && (full == nil || s.options.CountRefused) {
			m.admitted.add(at)
		}
	}
	if full == nil {
		return answer{}, false
	}
	left := time.Duration(full.admitted.frees(full.limit) - at)
	return s.limited(ex, int((left+time.Second-1)/time.Second)), true
}

// limited is the response 429, of which nothing but the status is documented.
func (s *Sandbox) limited(ex *exchange, retryAfter int) answer {
	if s.options.BareLimits || ex.lot.drawn && ex.lot.bare {
		return answer{status: 429, fault: "limit"}
	}
	a := refusal(429, codeLimited, "too many requests", s.flatErrors(ex.text))
	a.headers = []header{{"Retry-After", strconv.Itoa(max(retryAfter, 1))}}
	a.fault = "limit"
	return a
}

// execute is the moment at which the server does what it was asked for, or what
// somebody planted, or goes wrong.
func (s *Sandbox) execute(ex *exchange) answer {
	drawn := s.drawn(ex)
	st := ex.state
	st.mu.Lock()
	defer st.mu.Unlock()
	var plant *activeStub
	if ex.op != Unknown {
		plant = st.plants.take(ex.op, ex.text)
	}
	if plant != nil {
		return s.planted(st, ex, plant.Stub)
	}
	if a := s.refuseEarly(ex); a != nil {
		return *a
	}
	if sub := ex.subject; sub != nil && sub.familiar.fault != nil && sub.familiar.holds(int(sub.faulted)) {
		sub.faulted++
		return s.faulty(st, ex, sub.familiar.shaped(), sub.familiar.Word)
	}
	if drawn != nil {
		return s.faulty(st, ex, ex.lot.shaped(drawn), drawn.Word)
	}
	return s.ordinary(st, ex, faultEffect{})
}

// drawn is the fault that chance has in store for the request.
func (s *Sandbox) drawn(ex *exchange) *fault {
	if ex.op == Unknown {
		return nil
	}
	if s.temper.bursts {
		if f := s.seed.burstAt(ex.arrived); f != nil {
			return f
		}
	}
	return ex.lot.fault
}

// shaped is a drawn fault's shape, with what else chance has decided.
func (l randomDraw) shaped(f *fault) faultEffect {
	sh := f.shape
	if l.drawn && sh.retryAfter > 0 {
		sh.retryAfter = l.retryAfter
		if sh.status == 429 && l.bare {
			sh.retryAfter, sh.code = 0, ""
			sh.form = noBody
		}
	}
	switch f.Word {
	case "slow-":
		sh.delay = l.late
	case "drip-":
		sh.drip = l.late / 4
	}
	return sh
}

// refuseEarly gives the response to a request that breaks the contract or has no
// right to be made, or nil.
func (s *Sandbox) refuseEarly(ex *exchange) *answer {
	switch {
	case ex.early != nil:
		return ex.early
	case ex.anonymous && ex.op == Check:
		return nil
	case ex.anonymous:
		if s.options.EmptyTokenStatus == 403 {
			return s.problem(403, codeForbidden, "access is denied")
		}
		return s.problem(401, codeUnauthorized, "a token is needed")
	case ex.account == nil && (ex.shop == nil || ex.op != Check):
		a := s.wrongToken()
		return &a
	case ex.op == Check:
		return nil
	case !ex.account.signed(ex.signature, ex.body):
		return s.problem(403, codeForbidden, "the signature is missing or wrong")
	case ex.malformed != nil:
		return ex.malformed
	case ex.partnerID != ex.account.PartnerID:
		return s.problem(422, codeValidation, "the request has wrong values",
			field{"partnerId", codeWrongValue, "this is not the partner id of the token's account"})
	case ex.subject == nil:
		return s.problem(503, codeFull, "the sandbox remembers too many different codes or addresses; DELETE /state makes room")
	}
	return nil
}

// faulty plays a fault of the table.
func (s *Sandbox) faulty(st *state, ex *exchange, sh faultEffect, word string) answer {
	a := answer{status: sh.status, contentType: jsonType}
	if !sh.skip {
		a = s.ordinary(st, ex, sh)
	}
	a.fault = word
	a.delay, a.drip, a.cut, a.reset = sh.delay, sh.drip, sh.cut, sh.reset
	if sh.status != 0 {
		a.status = sh.status
	}
	if sh.status >= 400 || sh.form == errorInOK {
		a.body = errorBody(sh.code, messageOf(sh.code), sh.form == flatError || s.flatErrors(ex.text), sh.fields)
	}
	switch sh.form {
	case htmlPage:
		a.contentType, a.body = "text/html", htmlBody(a.status)
	case brokenJSON:
		a.body = corrupted(a.body)
	case noBody:
		a.contentType, a.body = "", nil
	case hugeBody:
		a.body = oversized(a.body)
	case moreFields:
		a.body = withExtraFields(a.body)
	}
	if sh.contentType != "" {
		a.contentType = sh.contentType
	}
	if sh.retryAfter > 0 {
		a.headers = append(a.headers, header{"Retry-After", strconv.Itoa(sh.retryAfter)})
	}
	if sh.location != "" {
		a.headers = append(a.headers, header{"Location", s.options.BasePath + sh.location})
	}
	return a
}

func messageOf(code string) string {
	if code == "" {
		return "the request was refused"
	}
	return "the sandbox plays " + code
}

// planted plays a response that somebody planted.
func (s *Sandbox) planted(st *state, ex *exchange, p Stub) answer {
	a := answer{contentType: jsonType}
	if p.Effect || p.ordinary() {
		if early := s.refuseEarly(ex); early != nil {
			a = *early
		} else {
			a = s.ordinary(st, ex, faultEffect{})
		}
	}
	if p.Status != 0 {
		a.status = p.Status
	} else if a.status == 0 {
		a.status = http.StatusOK
	}
	switch {
	case p.Body != nil:
		a.body = p.Body
	case p.Status >= 400:
		a.body = errorBody(codeOfStatus(p.Status), http.StatusText(p.Status), s.options.FlatErrors, nil)
	case p.Status == http.StatusNoContent || p.Status == http.StatusNotModified:
		a.contentType, a.body = "", nil
	}
	for name, value := range p.Headers {
		if http.CanonicalHeaderKey(name) == "Content-Type" {
			a.contentType = value
			continue
		}
		a.headers = append(a.headers, header{name, value})
	}
	if p.Abort == AbortBody && len(a.body) == 0 {
		a.body = []byte(`{"data":null}`)
	}
	a.delay, a.cut, a.fault = p.Delay, p.Abort, "planted"
	return a
}

func codeOfStatus(status int) string {
	switch status {
	case 401:
		return codeUnauthorized
	case 403:
		return codeForbidden
	case 404:
		return "not_found"
	case 422:
		return codeValidation
	case 429:
		return codeLimited
	case 503:
		return codeDown
	}
	if status >= 500 {
		return codeInternal
	}
	return "refused"
}

// finish notes how the request ended. Status 0 is: no status line was sent.
func (s *Sandbox) finish(ex *exchange, a answer, status int) {
	st := ex.state
	st.mu.Lock()
	if ex.subject != nil {
		ex.subject.inFlight--
	}
	if rec := ex.record; rec != nil {
		rec.answered, rec.status, rec.effect, rec.fault = st.now(), uint16(status), a.effect, a.fault
	}
	st.mu.Unlock()
	if log := s.options.Logger; log.Enabled(context.Background(), slog.LevelDebug) {
		log.Debug("request", "operation", string(ex.op), "status", status, "effect", a.effect, "fault", a.fault,
			"request_id", s.seed.requestID(ex.number))
	}
}

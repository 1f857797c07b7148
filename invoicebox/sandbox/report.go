package sandbox

import "time"

// A Request is one request as the sandbox saw it.
type Request struct {
	Time      time.Time     `json:"time"`      // of arrival
	Operation Operation     `json:"operation"` // unknown where no route fits
	Account   string        `json:"account"`   // partner id of the token's account; "" for shops' and wrong tokens
	Subject   string        `json:"subject"`   // address, code, or (checks) partner or merchant id; "" where the request names none that keeps to the contract
	Status    int           `json:"status"`    // 0: no status line was sent (yet)
	Effect    bool          `json:"effect"`    // this request sent the e-mail or spent the code
	RequestID string        `json:"requestId"` // the X-Request-Id of the response
	Fault     string        `json:"fault"`     // the fault word, "planted", "limit" or ""
	IP        string        `json:"ip"`
	Pending   bool          `json:"pending"`           // under way
	Took      time.Duration `json:"-"`                 // from arrival to answer; 0 while pending
	Answered  time.Time     `json:"answered,omitzero"` // when it had ended: the response was complete, or the client had gone and its effect was made
}

// Effects are what the API did, per address and per code, in the order in which
// they were first asked about.
type Effects struct {
	Invitations []InvitationEffects `json:"invitations"`
	Activations []ActivationEffects `json:"activations"`
	// Overlaps is how often a request came while another for the same address,
	// or the same code, was under way.
	Overlaps int `json:"overlaps"`
	Requests int `json:"requests"` // all of them, checks and unknown routes included
}

// InvitationEffects are of one address.
type InvitationEffects struct {
	Identifier string `json:"identifier"`
	Requests   int    `json:"requests"` // that named it, whatever their answer
	Effects    int    `json:"effects"`  // e-mails
	Overlaps   int    `json:"overlaps"`
}

// ActivationEffects are of one code.
type ActivationEffects struct {
	Code       string `json:"code"`
	Requests   int    `json:"requests"`
	Effects    int    `json:"effects"` // how often it was spent
	MerchantID string `json:"merchantId"`
	Overlaps   int    `json:"overlaps"`
}

// Windows are the most requests that any sliding window has held. Two requests
// share a window when they are less than Window apart.
type Windows struct {
	Window   time.Duration `json:"-"`
	Accounts []RateReport  `json:"accounts"`
	IPs      []RateReport  `json:"ips"`
}

// A RateReport is what one account, or one IP address, has asked of the server. Every
// request counts, those that were refused too.
type RateReport struct {
	Account      string `json:"account,omitzero"`
	IP           string `json:"ip,omitzero"`
	Limit        int    `json:"limit"`       // in a window; -1: none
	Requests     int    `json:"requests"`    // since the start
	Peak         int    `json:"most"`        // in any window, by the moment at which the server counted
	PeakArrivals int    `json:"mostArrived"` // in any window, by arrival
	Exceeded     int    `json:"over"`        // counted while the window held the limit already
	Limited      int    `json:"limited"`     // answered 429 for it
}

// Requests returns the requests since the start, in order of arrival, as many
// as are kept.
func (s *Sandbox) Requests() []Request {
	st := s.state.Load()
	var list []Request
	for from := 0; ; {
		part := s.requestsFrom(st, from)
		if len(part) == 0 {
			return list
		}
		list = append(list, part...)
		from += len(part)
	}
}

// requestsFrom returns a part of the log; the lock is held for that part only.
func (s *Sandbox) requestsFrom(st *state, from int) []Request {
	st.mu.Lock()
	defer st.mu.Unlock()
	if from >= st.log.kept() {
		return nil
	}
	chunk := st.log.chunks[from/chunkLength][from%chunkLength:]
	list := make([]Request, len(chunk))
	for i := range chunk {
		r := &chunk[i]
		list[i] = Request{
			Time: st.time(r.arrived), Operation: operations[r.op], Subject: r.text,
			Status: int(r.status), Effect: r.effect, Fault: r.fault, IP: r.peer.ip,
			RequestID: s.seed.requestID(uint64(from + i)), Pending: r.answered < 0,
		}
		if r.account != nil {
			list[i].Account = r.account.PartnerID
		}
		if r.answered >= 0 {
			list[i].Took, list[i].Answered = time.Duration(r.answered-r.arrived), st.time(r.answered)
		}
	}
	return list
}

// Effects returns what the API did. Codes that were planted and never asked
// about are not in it.
func (s *Sandbox) Effects() Effects {
	st := s.state.Load()
	st.mu.Lock()
	e := Effects{Overlaps: int(st.overlaps), Requests: int(st.log.total)}
	invited, activated := st.order[kindOf(Invite)], st.order[kindOf(Activate)]
	st.mu.Unlock()
	e.Invitations = make([]InvitationEffects, 0, len(invited))
	st.each(invited, func(sub *subject) {
		e.Invitations = append(e.Invitations, InvitationEffects{
			Identifier: sub.text, Requests: int(sub.requests), Effects: int(sub.effects), Overlaps: int(sub.overlaps),
		})
	})
	e.Activations = make([]ActivationEffects, 0, len(activated))
	st.each(activated, func(sub *subject) {
		a := ActivationEffects{Code: sub.text, Requests: int(sub.requests), Effects: int(sub.effects), Overlaps: int(sub.overlaps)}
		if sub.effects > 0 {
			a.MerchantID = sub.code.merchantID
		}
		e.Activations = append(e.Activations, a)
	})
	return e
}

// each walks over subjects that were asked about, letting requests in between.
func (st *state) each(list []*subject, do func(*subject)) {
	for len(list) > 0 {
		part := list[:min(len(list), chunkLength)]
		list = list[len(part):]
		st.mu.Lock()
		for _, sub := range part {
			if sub.requests > 0 {
				do(sub)
			}
		}
		st.mu.Unlock()
	}
}

// Windows returns the server's own count against the limits.
func (s *Sandbox) Windows() Windows {
	st := s.state.Load()
	st.mu.Lock()
	defer st.mu.Unlock()
	w := Windows{Window: s.options.Window, Accounts: []RateReport{}, IPs: []RateReport{}}
	for _, a := range st.accounts {
		l := a.report()
		l.Account = a.PartnerID
		w.Accounts = append(w.Accounts, l)
	}
	for _, p := range st.peerOrder {
		l := p.report()
		l.IP = p.ip
		w.IPs = append(w.IPs, l)
	}
	return w
}

func (m *rateMeter) report() RateReport {
	return RateReport{
		Limit: max(m.limit, -1), Requests: m.requests, Peak: m.counted.most, PeakArrivals: m.arrived.most,
		Exceeded: m.over, Limited: m.limited,
	}
}

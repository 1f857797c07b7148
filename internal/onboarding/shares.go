package onboarding

import "time"

// shares divide places among the accounts: each has a few of its own, that no
// other can take, and half of all are for whoever comes first.
type shares struct {
	own    int // places of each account's own
	shared int
}

func divide(places, accounts int) shares {
	own := max(1, places/(2*accounts))
	if accounts == 1 {
		own = places
	}
	return shares{own: own, shared: max(0, places-own*accounts)}
}

// places are one account's view of a divided number of places.
type places struct{ own, shared chan struct{} }

// take gets a place and returns the way to give it back, or nil when the
// instant by comes or one of the channels ends first.
func (p places) take(by time.Time, stop ...<-chan struct{}) func() {
	select {
	case p.own <- struct{}{}:
		return func() { <-p.own }
	default:
	}
	select {
	case p.own <- struct{}{}:
		return func() { <-p.own }
	case p.shared <- struct{}{}:
		return func() { <-p.shared }
	default:
	}
	var s [2]<-chan struct{}
	copy(s[:], stop)
	timer := time.NewTimer(time.Until(by))
	defer timer.Stop()
	select {
	case p.own <- struct{}{}:
		return func() { <-p.own }
	case p.shared <- struct{}{}:
		return func() { <-p.shared }
	case <-timer.C:
	case <-s[0]:
	case <-s[1]:
	}
	return nil
}

package onboarding

// refusalsToPause is how many different shops may be refused in a row, with no
// success between, before the account is paused: that many wrong codes or
// addresses one after the other are more likely an account that may not do what
// it asks for, and every further shop would be told to ask for a new code.
const refusalsToPause = 20

// unusableToPause is how many different shops in a row may have their code spent
// by a success that nobody can use (unreadable, or of a merchant that conflicts)
// before the account is paused: every further code would be spent as well.
const unusableToPause = 3

// A shopSet is a small set of shops. It never grows beyond refusalsToPause.
type shopSet map[string]struct{}

// add adds a shop and tells how many there are.
func (s *shopSet) add(shop string) int {
	if *s == nil {
		*s = make(shopSet, refusalsToPause)
	}
	(*s)[shop] = struct{}{}
	return len(*s)
}

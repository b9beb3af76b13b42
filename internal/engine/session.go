package engine

type sessions struct{}

func newSessions() *sessions { return &sessions{} }

func (s *sessions) endOf(*Container)       {}
func (s *sessions) of(*Container) []string { return nil }

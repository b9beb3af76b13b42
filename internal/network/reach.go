package network

// Reach says that members of a network may open connections to another.
type Reach struct {
	From    string `json:"from"` // ids of containers
	To      string `json:"to"`
	Network string `json:"network"`
	Proto   string `json:"proto,omitempty"` // "": every protocol
	Port    uint16 `json:"port,omitempty"`  // 0: every port
	End     uint16 `json:"end,omitempty"`
}

// Apart tells whether members reach each other only by Links.
func (n *Network) Apart() bool {
	s, err := n.settings()
	return err == nil && n.Driver == Bridge && s.apart
}

// Reach is who reaches whom: pairs that are not in it do not, but for published ports.
func (m *Manager) Reach() []Reach {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []Reach
	for _, v := range m.views() {
		if v.apart {
			all = append(all, v.linked()...)
			continue
		}
		for _, a := range v.members {
			for _, b := range v.members {
				if a != b {
					all = append(all, Reach{From: a.Container, To: b.Container, Network: v.Name})
				}
			}
		}
	}
	return all
}

func (v view) linked() []Reach {
	var all []Reach
	for _, l := range v.Links {
		for _, a := range v.named(l.From) {
			for _, b := range v.named(l.To) {
				if a != b {
					all = append(all, Reach{From: a.Container, To: b.Container, Network: v.Name, Proto: l.Proto, Port: l.Port, End: l.End})
				}
			}
		}
	}
	return all
}

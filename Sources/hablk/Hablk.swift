import Daemon
@main struct Hablk { static func main() {} }

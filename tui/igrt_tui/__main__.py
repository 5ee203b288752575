"""`python -m igrt_tui`."""

from igrt_tui.app import main

if __name__ == "__main__":
    main()

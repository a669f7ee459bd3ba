/* Registers, contexts and TRBs of xHCI (eXtensible Host Controller Interface 1.0), by their sections. */
#ifndef KVIK_DEVICE_USB_XHCI_REGISTERS_H
#define KVIK_DEVICE_USB_XHCI_REGISTERS_H

/* Where the windows of registers are (§5.3), all in BAR 0. */
#define XHCI_BYTES	       0x4000
#define XHCI_OPERATIONAL       0x0040
#define XHCI_PORTS_AT	       (XHCI_OPERATIONAL + 0x400)
#define XHCI_PORT_BYTES	       0x10
#define XHCI_RUNTIME	       0x1000
#define XHCI_DOORBELLS	       0x2000
#define XHCI_MSIX_TABLE	       0x3000
#define XHCI_MSIX_PENDING      0x3800
#define XHCI_EXTENDED	       0x20 /* capabilities: a protocol each for the ports of USB 2 and 3 */

/* Operational registers (§5.4). */
#define USBCMD	   0x00
#define CMD_RUN	   0x0001u
#define CMD_RESET  0x0002u
#define CMD_INTE   0x0004u
#define CMD_RESTORE 0x0200u
#define CMD_KEPT   0x0c0du /* run, INTE, HSEE, wrap events, U3 stop */
#define USBSTS	   0x04
#define STS_HALTED 0x0001u
#define STS_HOST_ERROR 0x0004u
#define STS_EVENT  0x0008u
#define STS_PORT   0x0010u
#define STS_RESTORE_ERROR 0x0400u
#define STS_CONTROLLER_ERROR 0x1000u
#define STS_CLEARED_BY_ONES (STS_HOST_ERROR | STS_EVENT | STS_PORT | STS_RESTORE_ERROR)
#define PAGESIZE   0x08
#define DNCTRL	   0x14
#define CRCR_LOW   0x18
#define CRCR_HIGH  0x1c
#define CRCR_CYCLE 0x1u
#define CRCR_STOP  0x2u
#define CRCR_ABORT 0x4u
#define CRCR_RUNNING 0x8u
#define DCBAAP_LOW 0x30
#define DCBAAP_HIGH 0x34
#define CONFIG	   0x38

/* Port status and control (§5.4.8). */
#define PORTSC_CONNECTED 0x00000001u
#define PORTSC_ENABLED	 0x00000002u
#define PORTSC_RESET	 0x00000010u
#define PORTSC_LINK	 0x000001e0u
#define PORTSC_LINK_SHIFT 5
#define LINK_U0	      0
#define LINK_DETECT   5 /* of a USB 3 port without a device */
#define LINK_POLLING  7 /* ... of a USB 2 port with one that is not enabled */
#define LINK_RESUME   15
#define PORTSC_POWER	 0x00000200u
#define PORTSC_SPEED_SHIFT 10
#define PORTSC_LINK_WRITE 0x00010000u
#define PORTSC_CONNECT_CHANGE 0x00020000u
#define PORTSC_RESET_CHANGE   0x00200000u
#define PORTSC_LINK_CHANGE    0x00400000u
#define PORTSC_CHANGES	 0x00fe0000u /* cleared by ones */
#define PORTSC_KEPT	 0x0e00c000u /* indicators, and what wakes */
#define PORTSC_SPEED	 0x00003c00u

/* Runtime registers (§5.5): MFINDEX, and the one interrupter. */
#define MFINDEX	    0x00
#define IMAN	    0x20
#define IMAN_PENDING 0x1u
#define IMAN_ENABLED 0x2u
#define IMOD	    0x24
#define ERSTSZ	    0x28
#define ERSTBA_LOW  0x30
#define ERSTBA_HIGH 0x34
#define ERDP_LOW    0x38
#define ERDP_HIGH   0x3c
#define ERDP_BUSY   0x8u

/* TRBs (§6.4): types, and bits of the control word. */
#define TRB_BYTES	 16
#define TRB_NORMAL	 1
#define TRB_SETUP	 2
#define TRB_DATA	 3
#define TRB_STATUS	 4
#define TRB_ISOCHRONOUS	 5
#define TRB_LINK	 6
#define TRB_EVENT_DATA	 7
#define TRB_NO_OP	 8
#define TRB_ENABLE_SLOT	 9
#define TRB_DISABLE_SLOT 10
#define TRB_ADDRESS	 11
#define TRB_CONFIGURE	 12
#define TRB_EVALUATE	 13
#define TRB_RESET_ENDPOINT 14
#define TRB_STOP_ENDPOINT  15
#define TRB_SET_DEQUEUE	   16
#define TRB_RESET_DEVICE   17
#define TRB_NO_OP_COMMAND  23
#define TRB_TRANSFER_EVENT 32
#define TRB_COMMAND_EVENT  33
#define TRB_PORT_EVENT	   34
#define TRB_HOST_EVENT	   37
#define TRB_CYCLE	 0x0001u
#define TRB_TOGGLE	 0x0002u /* of a link */
#define TRB_SHORT	 0x0004u /* interrupt on a short packet */
#define TRB_CHAIN	 0x0010u
#define TRB_INTERRUPT	 0x0020u /* on completion */
#define TRB_IMMEDIATE	 0x0040u
#define TRB_DATA_IN	 0x00010000u
#define TRB_BSR		 0x0200u /* of Address Device: without SET_ADDRESS */
#define TRB_DECONFIGURE	 0x0200u /* of Configure Endpoint */
#define TRB_TYPE(control) ((control) >> 10 & 0x3f)
#define TRB_SLOT(control) ((control) >> 24)
#define TRB_ENDPOINT(control) ((control) >> 16 & 0x1f)
#define TRB_LENGTH(status) ((status) & 0x1ffff)

/* Completion codes (§6.4.5). */
#define CC_SUCCESS	   1
#define CC_DATA_BUFFER	   2
#define CC_TRANSACTION	   4
#define CC_TRB		   5
#define CC_STALL	   6
#define CC_NO_SLOTS	   9
#define CC_SLOT_DISABLED   11
#define CC_ENDPOINT_DISABLED 12
#define CC_SHORT_PACKET	   13
#define CC_PARAMETER	   17
#define CC_CONTEXT_STATE   19
#define CC_EVENT_RING_FULL 21
#define CC_RING_STOPPED	   24

/* Contexts (§6.2), of 32 bytes: a slot's, and 31 endpoints'. */
#define CONTEXT_BYTES	32
#define CONTEXT_WORDS	8
#define SLOT_STATE_SHIFT 27
#define SLOT_DEFAULT	1
#define SLOT_ADDRESSED	2
#define SLOT_CONFIGURED 3
#define EP_DISABLED	0
#define EP_RUNNING	1
#define EP_HALTED	2
#define EP_STOPPED	3
#define EP_ERROR	4
#define EP_CONTROL	4 /* types */
#define EP_OUT_LAST	3 /* 1 to 3 are out, 5 to 7 in */

#endif
